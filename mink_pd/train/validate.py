"""Validation: detections over a data set, gathered from all processes, and their figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mink_pd.data.batch import Batch
from mink_pd.detect.predict import detect_batches
from mink_pd.errors import MinkPDError
from mink_pd.evaluate.scorers import Scorer
from mink_pd.models import Detector
from mink_pd.processes import gather, stop_together


@dataclass
class Validation:
    """kept: frame id -> what the scorer keeps of it; metrics: the logged figures, by name."""

    kept: dict[str, Any]
    scorer: Scorer
    metrics: dict[str, float]

    def write(self, folder: Path) -> None:
        """Write the detections as the benchmark takes them; ``folder`` then holds nothing else."""
        self.scorer.write(folder, self.kept)


def validate(detector: Detector, batches: Iterable[Batch], scorer: Scorer, fabric: Fabric) -> Validation:
    """Detect in ``batches`` (this process's share of the data set) and score what all processes found.

    Every process returns the figures of the whole data set: the same as a single process would, to the last bit
    where the batches are single frames (in larger ones float32 sums depend on what else is in the batch).
    """
    kept, error = {}, None
    try:
        with fabric.autocast():
            for frame, found in detect_batches(detector, batches):
                kept[frame.id] = scorer.keep(frame, found)
    except MinkPDError as raised:
        error = raised
    stop_together(error, fabric.device)
    kept = _join(gather(kept))
    return Validation(kept, scorer, scorer.score(kept))


def _join(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What all processes have, in order of frame id. Frames that several processes have count once."""
    together = {name: kept for part in parts for name, kept in part.items()}
    return dict(sorted(together.items()))
