"""The whole configuration of one experiment."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from mink_pd.config.data import DataConfig
from mink_pd.config.evaluate import EvaluateConfig
from mink_pd.config.methods import DistillConfig
from mink_pd.config.models import PointPillarsConfig, SecondConfig
from mink_pd.config.pointrcnn import PointRCNNConfig
from mink_pd.config.section import Folder, Section
from mink_pd.config.train import TrainConfig

DETECTORS = ("pointpillars", "pointrcnn", "second")


def _detector_name(section: Any) -> str:
    """Which detector a model section is of: a section without a name describes PointPillars."""
    return section.get("name", "pointpillars") if isinstance(section, dict) else getattr(section, "name", "")


ModelConfig = Annotated[
    Annotated[PointPillarsConfig, Tag("pointpillars")]
    | Annotated[PointRCNNConfig, Tag("pointrcnn")]
    | Annotated[SecondConfig, Tag("second")],
    Discriminator(_detector_name),
]


class Config(Section):
    """One experiment: everything that the result depends on."""

    name: str | None = None  # of the run folder; None: the file's name
    runs: Folder = Path("runs")
    seed: int = Field(0, ge=0, lt=2**32)
    data: DataConfig = DataConfig()
    model: ModelConfig = PointPillarsConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    distill: DistillConfig = DistillConfig()

    @model_validator(mode="after")
    def _model_fits_data(self) -> "Config":
        self.model.check(self.data.classes, self.data.has_velocities)
        return self

    @model_validator(mode="after")
    def _thresholds_are_of_classes(self) -> "Config":
        unknown = [name for name in self.evaluate.min_iou if name not in self.data.classes]
        if unknown:
            classes = ", ".join(self.data.classes)
            raise ValueError(f"evaluate.min_iou.{unknown[0]}: not in data.classes; name one of {classes}")
        return self
