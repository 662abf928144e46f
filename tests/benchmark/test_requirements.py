"""The peers' pins."""

from importlib import metadata
from pathlib import Path

import pytest

from benchmarks.rows.all_rows import ROWS

ROOT = Path(__file__).resolve().parents[2]


def pins(name: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_peers_touch_nothing_that_the_project_needs() -> None:
    assert not pins("requirements-bench.txt").keys() & pins("requirements.txt").keys()


@pytest.mark.parametrize(("name", "version"), pins("requirements-bench.txt").items())
def test_installed_peer_is_the_pinned_one(name: str, version: str) -> None:
    try:
        assert metadata.version(name) == version, "run 'make bench-deps'"
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed: make bench-deps")


def test_rows_name_the_versions_that_are_pinned() -> None:
    named = " ".join(row.peer for row in ROWS)
    assert f"spconv {pins('requirements-bench.txt')['spconv']}" in named
    assert f"MinkowskiEngine {pins('requirements.txt')['MinkowskiEngine']}" in named
