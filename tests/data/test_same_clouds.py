"""Clouds are told apart by their bytes, and by no more of these than is needed."""

import shutil
from pathlib import Path

import pytest

from mink_pd.data.dataset import PROBE, probe
from mink_pd.data.same_clouds import CloudFiles
from mink_pd.errors import DataError


def test_a_cloud_is_known_by_its_bytes(tmp_path: Path) -> None:
    """Not by its size and middle alone: organised clouds have equal sizes, and rows without a return."""
    cloud, other = tmp_path / "a.bin", tmp_path / "other.bin"
    cloud.write_bytes(b"\1" * PROBE + b"\0" * PROBE + b"\2" * PROBE)
    other.write_bytes(b"\1" * PROBE + b"\0" * PROBE + b"\3" * PROBE)
    assert probe(cloud) == probe(other)
    files = CloudFiles([cloud])
    (tmp_path / "link.bin").symlink_to(cloud)
    shutil.copy(cloud, tmp_path / "copy.bin")
    assert all(tmp_path / name in files for name in ("a.bin", "link.bin", "copy.bin"))
    assert other not in files
    with pytest.raises(DataError, match=r"absent\.bin: "):
        tmp_path / "absent.bin" in files  # noqa: B015
