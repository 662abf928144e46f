"""Validation: detections over a data set, gathered from all processes, and their figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mink_pd.config import DataConfig
from mink_pd.data import Dataset
from mink_pd.data.loading.batch import Batch
from mink_pd.data.loading.epochs import Loader, make_loader
from mink_pd.detect.predict import detect_batches
from mink_pd.errors import MinkPDError
from mink_pd.evaluate.scorers import Scorer
from mink_pd.models import Detector
from mink_pd.processes import gather, stop_together


@dataclass
class Validation:
    """kept: frame id -> what the scorer stores for the frame; metrics: the logged figures, by name."""

    kept: dict[str, Any]
    scorer: Scorer
    metrics: dict[str, float]

    def write(self, folder: Path) -> None:
        """Write the detections in the format of the benchmark. Anything else in ``folder`` is removed."""
        self.scorer.write(folder, self.kept)


def lay_out(dataset: Dataset, config: DataConfig, rank: int = 0, world: int = 1) -> Loader:
    """Batches of a data set for evaluation: in order, not augmented, one frame per batch.

    In larger batches float32 sums depend on the other frames of the batch, and the figures would differ in their last
    bits.
    """
    return make_loader(dataset, config, batch_size=1, training=False, seed=0, rank=rank, world=world)


def validate(detector: Detector, batches: Iterable[Batch], scorer: Scorer, fabric: Fabric) -> Validation:
    """Detect in ``batches`` (this process's share of the data set) and score what all processes found.

    Every process returns the figures of the whole data set, equal to those of a single process.
    """
    kept = find(detector, batches, scorer, fabric)
    return Validation(kept, scorer, scorer.score(kept))


def find(detector: Detector, batches: Iterable[Batch], scorer: Scorer, fabric: Fabric) -> dict[str, Any]:
    """Detect in ``batches``. Returns what the scorer stores for the frames of all processes, by frame id."""
    kept, error = {}, None
    try:
        with fabric.autocast():
            for frame, found in detect_batches(detector, batches):
                kept[frame.id] = scorer.keep(frame, found)
    except MinkPDError as raised:
        error = raised
    stop_together(error, fabric.device)
    return _join(gather(kept))


def _join(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The entries of all processes, in order of frame id. Frames that several processes hold count once."""
    together = {name: kept for part in parts for name, kept in part.items()}
    return dict(sorted(together.items()))
