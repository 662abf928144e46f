"""A training that has nothing to learn from stops after its first epoch and says why."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_in import Memory, make_trainer

from mink_pd.data.frame import Frame
from mink_pd.errors import MinkPDError
from mink_pd.train.seen import Seen


def without_points(frame: Frame) -> Frame:
    return replace(frame, points=np.zeros((0, 4), np.float32), boxes=frame.boxes[:0], names=frame.names[:0])


def without_objects(frame: Frame) -> Frame:
    return replace(frame, boxes=frame.boxes[:0], names=frame.names[:0])


def of_other_classes(frame: Frame) -> Frame:
    return replace(frame, names=np.array(["Tram"] * len(frame.names)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_points, r"no point of any training frame lies in data\.range \[0\.0, "),
        (without_objects, "no training frame has a labelled Car, Pedestrian, Cyclist with a point in data"),
        (of_other_classes, "no training frame has a labelled Car"),
    ],
)
def test_frames_without_anything_stop_the_training(
    tmp_path: Path, change: Callable[[Frame], Frame], message: str
) -> None:
    trainer = make_trainer(tmp_path / "run")
    memory = Memory(4, 2)
    memory.frames = [change(frame) for frame in memory.frames]
    seen = Seen(trainer.config, torch.device("cpu"))
    for batch in memory.epoch(0):
        seen.add(batch)
    with pytest.raises(MinkPDError, match=message) as error:
        seen.check("runs/a", {"loss": 1.0, "box": 1.0})
    assert str(error.value).startswith("runs/a: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("means", [{"loss": 2.0, "box": 0.0}, {"point": 1.0, "point_box": 0.0, "region_box": 0.0}])
def test_an_epoch_without_a_positive_stops_the_training(tmp_path: Path, means: dict[str, float]) -> None:
    trainer = make_trainer(tmp_path / "run")
    seen = Seen(trainer.config, torch.device("cpu"))
    for batch in Memory(4, 2).epoch(0):
        seen.add(batch)
    with pytest.raises(MinkPDError, match="none of the 4 labelled objects became a positive"):
        seen.check("runs/a", means)
    seen.check("runs/a", means | {"box": 0.1})
    seen.check("runs/a", {"loss": 2.0})


def test_the_loop_asks_after_every_epoch(tmp_path: Path) -> None:
    memory = Memory(4, 2)
    trainer = make_trainer(tmp_path / "run", loader=memory)
    trainer.train_epoch(1)
    memory.frames = [replace(frame, names=np.array(["Tram"])) for frame in memory.frames]
    trainer.objective.detector.loss = lambda prediction, batch: {"size": prediction.square().mean()}  # type: ignore[method-assign]
    with pytest.raises(MinkPDError, match="nothing can be learnt"):
        trainer.train_epoch(2)
