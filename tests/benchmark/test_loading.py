"""Steps by loader workers: every combination is timed, and set beside none."""

from pathlib import Path

import pytest
import yaml
from rich.console import Console
from tiny_kitti import settings, write_data

from benchmarks import loading
from benchmarks.loading import Stretches, table
from mink_pd.config import load_config


def test_every_combination_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WORKERS", (0, 1))
    monkeypatch.setattr(loading, "COUNTS", [1])
    monkeypatch.setattr(loading, "STEPS", 2)
    write_data(tmp_path / "kitti", [f"{i:06d}" for i in range(3)], ["000009"])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings(tmp_path / "kitti", tmp_path / "runs")))
    found = loading.loading(load_config(tmp_path / "tiny.yaml"), repeats=2)
    assert [(one.threads, one.workers) for one in found] == [(1, 0), (1, 1)]
    assert all(len(one.ms) == len(one.cpu_ms) == 2 and min(one.ms + one.cpu_ms) > 0 for one in found)


def test_ratios_are_turn_by_turn(capsys: pytest.CaptureFixture[str]) -> None:
    none = Stretches(1, 0, ms=[10.0, 40.0, 20.0], cpu_ms=[9.0] * 3)
    one = Stretches(1, 1, ms=[5.0, 20.0, 40.0], cpu_ms=[4.0] * 3)
    Console(width=120).print(table([none, one], "steps"))
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["1", "1", "20.0", "4.0", "50.0", "2.00"]
