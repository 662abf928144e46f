"""The whole configuration of one experiment."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from mink_pd.config.data import DataConfig
from mink_pd.config.evaluate import EvaluateConfig
from mink_pd.config.methods import DistillConfig
from mink_pd.config.models import DetectorConfig
from mink_pd.config.section import Folder, Section, section_of
from mink_pd.config.train import TrainConfig
from mink_pd.registry import DATASETS, DETECTORS

DEFAULT_DATA, DEFAULT_MODEL = "kitti", "pointpillars"
choose_data = section_of(DATASETS, "kind", DEFAULT_DATA)
choose_model = section_of(DETECTORS, "name", DEFAULT_MODEL)
DataSection = Annotated[SerializeAsAny[DataConfig], BeforeValidator(choose_data)]
ModelSection = Annotated[SerializeAsAny[DetectorConfig], BeforeValidator(choose_model)]


class Config(Section):
    """One experiment: everything that the result depends on."""

    name: str | None = None  # of the run folder; None: the file's name
    runs: Folder = Path("runs")
    plugins: list[Path] = Field(default_factory=list)  # Python files that register data sets, detectors or methods
    seed: int = Field(0, ge=0, lt=2**32)
    data: DataSection = Field(default_factory=lambda: DATASETS[DEFAULT_DATA].Settings())
    model: ModelSection = Field(default_factory=lambda: DETECTORS[DEFAULT_MODEL].Settings())
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    distill: DistillConfig = Field(default_factory=DistillConfig)

    @model_validator(mode="after")
    def _model_fits_data(self) -> "Config":
        self.model.check(self.data.classes, self.data.has_velocities)
        self.model.check_range(self.data.range)
        if self.train.precision == "64-true" and not self.model.double:
            raise ValueError(f"train.precision: {self.model.name} does not compute in float64; choose 32-true")
        return self

    @model_validator(mode="after")
    def _thresholds_are_of_classes(self) -> "Config":
        unknown = [name for name in self.evaluate.min_iou if name not in self.data.classes]
        if unknown:
            classes = ", ".join(self.data.classes)
            raise ValueError(f"evaluate.min_iou.{unknown[0]}: not in data.classes; name one of {classes}")
        return self

    @model_validator(mode="after")
    def _unlabelled_fits(self) -> "Config":
        settings = self.distill.unlabelled
        for key, scores in (("upper", settings.upper), ("lower", settings.lower)):
            unknown = next((name for name in scores if name not in self.data.classes), None)
            if unknown is not None:
                classes = ", ".join(self.data.classes)
                raise ValueError(f"distill.unlabelled.{key}.{unknown}: not in data.classes; name one of {classes}")
        if settings.boxes is not None and not settings.paths:
            raise ValueError("distill.unlabelled.boxes: goes with frames; name them in distill.unlabelled.paths")
        if settings.paths:
            try:
                settings.batch_of(self.train.batch_size)
            except ValueError as error:
                raise ValueError(f"distill.unlabelled: {error}") from None
        return self
