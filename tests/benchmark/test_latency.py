"""Percentiles of latency: every frame is detected in by every network, and the table's figures are the percentiles."""

import pytest
from rich.console import Console

from benchmarks import latency
from benchmarks.gpu.frames import CastInputs
from benchmarks.inputs import TINY
from benchmarks.latency import Latency, table


def test_every_network_sees_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "COMPRESSIONS", (4.0, 16.0))
    monkeypatch.setattr(latency, "COUNTS", [1])
    counted: list[int] = []
    inputs = CastInputs(sizes=TINY)
    found, points = latency.latency(inputs, frames=3, done=lambda: counted.append(1))
    assert len(counted) == len(points) == len(set(points)) == 3
    assert [(one.compression, one.threads) for one in found] == [(4.0, 1), (16.0, 1)]
    assert all(len(one.wall) == len(one.processor) == 3 and min(one.wall) > 0 for one in found)
    assert all(one.memory >= 0 for one in found)


def test_passing_frames_are_not_kept() -> None:
    inputs = CastInputs(sizes=TINY)
    assert [frame.id for frame in inputs.passing(3)] == ["000000", "000001", "000002"]
    assert inputs._frames == {}


def test_the_tables_figures_are_percentiles(capsys: pytest.CaptureFixture[str]) -> None:
    one = Latency(4.0, 2, wall=[float(i) for i in range(101)], processor=[2.0 * i for i in range(101)], memory=12.4)
    Console(width=200).print(table([one], [500, 700, 600], "made up"))
    printed = capsys.readouterr().out.strip().splitlines()
    assert "3 different frames of 500 to 700 points, made up" in " ".join(
        " ".join(printed).split()
    )  # the title is broken to the table's width
    cells = [cell.strip() for cell in printed[-1].strip("|").split("|")]
    assert cells == ["4x", "2", "50.0", "95.0", "99.0", "100.0", "190.0", "198.0", "12"]
