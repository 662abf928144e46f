"""A user's plugin: one of everything that can be added, through the registries alone (tests/test_plugins.py)."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mink_pd.config import DataConfig
from mink_pd.config.methods import FeatureConfig
from mink_pd.config.models import PointPillarsConfig
from mink_pd.data.dataset import Dataset, View
from mink_pd.data.frame import Frame
from mink_pd.distill.methods.base import Method
from mink_pd.distill.pairs import TapPair
from mink_pd.evaluate.scorers import Scorer
from mink_pd.models.detectors.pointpillars import PointPillars
from mink_pd.models.taps import Tap
from mink_pd.registry import DATASETS, DETECTORS, IMPORTANCES, METHODS, SCORERS


@IMPORTANCES.register("nearness")
def nearness(tap: Tap, taps: dict[str, Tap]) -> Tensor:
    """nearness to the sensor"""
    return 1 / (1 + tap.centres[:, :2].norm(dim=1))


class MeanGapConfig(FeatureConfig):
    power: float = 2.0


@METHODS.register("mean_gap")
class MeanGap(Method):
    """Compares the mean of each row over its channels."""

    Settings = MeanGapConfig
    settings: MeanGapConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        gap = pair.teacher.features.mean(dim=1) - pair.student.features.mean(dim=1)  # (M,)
        return gap.abs().pow(self.settings.power).mean(), {}


class DotsConfig(DataConfig):
    kind: Literal["dots"] = "dots"
    frames: int = 4


@DATASETS.register("dots")
class Dots(Dataset):
    """One car-sized cluster of points per frame."""

    Settings = DotsConfig
    scorer = "count"
    view = View(all_around=True)

    def __init__(self, config: DotsConfig, split: str) -> None:
        self.root, self.ids = config.root, [f"{split}{number}" for number in range(config.frames)]

    @classmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> "Dots":
        return cls(config, split)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Frame:
        points = np.random.default_rng(index).uniform([8, -1, -1.6, 0], [12, 1, 0, 1], (200, 4))
        box = np.array([[10, 0, -0.8, 4, 2, 1.6, 0]], dtype=np.float32)
        return Frame(self.ids[index], points.astype(np.float32), boxes=box, names=np.array(["Car"]))

    def frame_names(self) -> list[np.ndarray]:
        return [np.array(["Car"])] * len(self)

    def fingerprint(self) -> str:
        return f"dots {len(self)}"


@SCORERS.register("count")
class CountScorer(Scorer):
    """Scores a detector by how much it finds."""

    headline: ClassVar = {"found": "found"}
    examples = "found"

    @classmethod
    def of(cls, dataset: Any, config: Any) -> "CountScorer":
        return cls()

    @classmethod
    def figures(cls, classes: list[str]) -> set[str]:
        return {"found"}

    def keep(self, frame: Frame, found: Any) -> int:
        return len(found)

    def score(self, kept: Any) -> dict[str, float]:
        return {"found": float(sum(kept.values()))}

    def write(self, folder: Any, kept: Any) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "counts.txt").write_text("".join(f"{id} {number}\n" for id, number in kept.items()))


class ShyConfig(PointPillarsConfig):
    name: Literal["shy"] = "shy"  # type: ignore[assignment]
    doubt: float = 0.5


@DETECTORS.register("shy")
class ShyPillars(PointPillars):
    """PointPillars whose class scores are lowered."""

    Settings = ShyConfig

    def predict(self, x: Any, voxels: Any) -> Any:
        prediction = super().predict(x, voxels)
        prediction.scores = prediction.scores - torch.tensor(self.config.model.doubt)
        return prediction
