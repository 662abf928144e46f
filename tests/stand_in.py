"""A dense detector of a few numbers and batches in memory: the loop does not care what it trains."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.evaluate.scorers.kitti import KittiScorer
from mink_pd.models import Detections, Detector
from mink_pd.train.loop import Trainer
from mink_pd.train.objective import DetectionObjective
from mink_pd.train.reporter import Reporter
from mink_pd.train.run_folder import RunFolder
from mink_pd.train.validate import Validation


class MeanDetector(Detector):
    """One box a frame from the mean of its points; ``noisy`` adds batch norm and dropout."""

    def __init__(self, config: Config, noisy: bool = False) -> None:
        super().__init__(config)
        noise = [nn.BatchNorm1d(8), nn.Dropout(0.3)] if noisy else []
        self.layers = nn.Sequential(nn.Linear(4, 8), *noise, nn.Linear(8, 7))

    def shared_input(self, batch: Batch):  # type: ignore[no-untyped-def]
        return None

    def tap_channels(self) -> dict[str, int]:
        return {}

    def forward(self, batch: Batch, shared=None) -> Tensor:  # type: ignore[no-untyped-def, override]
        means = [batch.points[batch.frame == i].mean(dim=0) for i in range(len(batch))]
        return self.layers(torch.stack(means))  # (frames, 7)

    def loss(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        target = torch.stack([boxes[0] for boxes in batch.boxes])
        return {"box": (prediction - target).square().mean(), "size": 0.1 * prediction.square().mean()}

    def detect(self, prediction: Tensor) -> list[Detections]:  # type: ignore[override]
        return [Detections(box[None], torch.zeros(1, dtype=torch.int64), torch.ones(1)) for box in prediction]


class Memory:
    """Frames in memory as a loader: a new order every epoch, the same one whenever it is asked for."""

    def __init__(self, frames: int, batch_size: int, shuffle: bool = True) -> None:
        rng = np.random.default_rng(0)
        self.frames = [
            Frame(
                f"{i:06d}",
                rng.normal(size=(5, 4)).astype(np.float32),
                rng.normal(size=(1, 7)),
                np.array(["Car"]),
            )
            for i in range(frames)
        ]
        self.batch_size, self.shuffle = batch_size, shuffle

    def __len__(self) -> int:
        return -(-len(self.frames) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(len(self.frames))
        order = order if self.shuffle else np.arange(len(self.frames))
        for start in range(0, len(order), self.batch_size):
            chosen = [self.frames[i] for i in order[start : start + self.batch_size]]
            yield collate(chosen, ["Car", "Pedestrian", "Cyclist"])


def no_validation(detector: Detector) -> Validation:
    """A validation that finds nothing."""
    return Validation({}, KittiScorer(), {})


def make_trainer(  # type: ignore[no-untyped-def]
    folder: Path,
    wrap=DetectionObjective,
    loader=None,
    validate=no_validation,
    noisy: bool = False,
    **settings,
) -> Trainer:
    """A trainer on the CPU of ``wrap(detector)``, seeded; ``settings`` go to the train section."""
    config = Config(name=folder.name, runs=folder.parent)
    config.train = config.train.model_copy(update={"epochs": 2, "batch_size": 2, **settings})
    run = RunFolder.of(config)
    if not run.exists:
        run.prepare(config, {}, "", fresh=True)
    torch.manual_seed(0)
    objective = wrap(MeanDetector(config, noisy))
    fabric = Fabric(accelerator="cpu", devices=1)
    loader = loader or Memory(6, config.train.batch_size)
    return Trainer(objective, loader, validate, config, run, fabric, Reporter(run, config.train.epochs))
