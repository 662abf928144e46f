"""Event files as TensorBoard itself reads them."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mink_pd.errors import DataError
from mink_pd.train.events import EventFile


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    read = EventAccumulator(str(folder))
    read.Reload()
    return [(event.step, event.value) for event in read.Scalars(tag)]


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    for step in (1, 2, 3):
        events.add({"train/loss": 1 / step, "epoch/loss": float(step)}, step)
    assert curve(tmp_path, "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]  # before it is closed
    events.close()
    assert curve(tmp_path, "epoch/loss") == [(1, 1), (2, 2), (3, 3)]


def test_a_resumed_training_forgets_later_steps(tmp_path: Path) -> None:
    for purge, steps in ((None, (1, 2, 3)), (2, (2, 3))):
        events = EventFile(tmp_path, purge)
        for step in steps:
            events.add({"loss": 10.0 * step + (purge or 0)}, step)
        events.close()
    assert curve(tmp_path, "loss") == [(1, 10), (2, 22), (3, 32)]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone/events.*cannot be written"):
        EventFile(tmp_path / "gone")
