"""Settings of distillation: the settings that all methods share, and the choice of methods. Each method's own section
is in the method's module in ``mink_pd/distill/methods``."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from mink_pd.config.section import Section
from mink_pd.config.unlabelled import UnlabelledConfig
from mink_pd.registry import IMPORTANCES, METHODS


class MethodConfig(Section):
    """Settings that all methods share."""

    weight: float = Field(1.0, ge=0)


class FeatureConfig(MethodConfig):
    """A method that compares features."""

    taps: list[str] | None = None  # None: those of distill.taps


class SelectionConfig(Section):
    """A method that compares the most important rows of each frame."""

    rows: int = Field(256, ge=1)  # selected per frame
    importance: str = "score"  # what makes a row important, see mink_pd/distill/importance.py

    @field_validator("importance")
    @classmethod
    def _importance_exists(cls, name: str) -> str:
        if name not in IMPORTANCES:
            raise ValueError(f"must be one of {', '.join(IMPORTANCES)}, got {name!r}")
        return name


class RowsConfig(FeatureConfig, SelectionConfig):
    """A method that relates selected rows: relations between all rows would not fit into memory."""


class DistillConfig(Section):
    """The choice of methods, and the controls. Each registered method has a section of its name (docs/methods.md)."""

    model_config = ConfigDict(extra="allow")  # the methods' sections

    methods: list[str] = ["pointdistiller"]
    taps: list[str] = ["bev1", "bev2", "neck"]  # of methods that compare features and set no taps of their own
    # Replaces the teacher's features but keeps its importance. random: features of random weights; shuffled: the
    # teacher's rows in random order; averaged: weights mixed of control_share of the teacher's, the rest random.
    control: Literal["none", "random", "shuffled", "averaged"] = "none"
    control_share: float = Field(0.5, ge=0, le=1)
    # First weights of the student. teacher: a part of the teacher's channels; auto: the same where the student is the
    # teacher's network with fewer channels and train.initial is unset, else random.
    initialise: Literal["auto", "teacher", "random"] = "auto"
    labels: Literal["ground_truth", "teacher"] = (
        "ground_truth"  # teacher: its detections are added to the labelled objects
    )
    # What the teacher sees where data.beams or data.augment.beams leave the student fewer points. all: the points of
    # all its own beams; student: the student's.
    teacher_points: Literal["all", "student"] = "all"
    label_score: float = Field(0.6, ge=0, le=1)  # of the teacher's detections that count as objects
    # Arithmetic of the frozen teacher. bf16: its convolutions in bfloat16, faster on processors with AVX512_BF16 (AMD
    # Zen 4, Intel Sapphire Rapids, and later); other processors leave them as they are, and the run says so. Features
    # change by a few parts in a thousand. The student's own arithmetic is train.precision.
    teacher_precision: Literal["full", "bf16"] = "full"
    # Share of the epochs in which the methods teach. Afterwards the student learns from the labels alone, and the
    # teacher is not run unless it gives labels (early-stopped distillation: Cho and Hariharan, ICCV 2019).
    until: float = Field(0.5, gt=0, le=1)
    unlabelled: UnlabelledConfig = Field(default_factory=UnlabelledConfig)

    @model_validator(mode="before")
    @classmethod
    def _sections_of_methods(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        errors: list[InitErrorDetails] = [
            {"type": "extra_forbidden", "loc": (key,), "input": value}
            for key, value in values.items()
            if key not in own and key not in METHODS
        ]
        chosen = values.get("methods", [])
        for name in METHODS:
            if name not in METHODS.built_in and name not in values and name not in chosen:
                continue  # a plugin's method that this configuration does not use
            value = values.get(name, {})
            try:
                own[name] = METHODS[name].Settings.model_validate(value)
            except ValidationError as error:
                errors += [_inside(name, details) for details in error.errors()]
        if errors:
            raise ValidationError.from_exception_data("DistillConfig", errors)
        return own

    def section(self, method: str) -> Any:
        """The settings of one method."""
        return getattr(self, method)


def _inside(section: str, details: Any) -> InitErrorDetails:
    """An error of a section's validation, located in the section."""
    found: InitErrorDetails = {"type": details["type"], "loc": (section, *details["loc"]), "input": details["input"]}
    if "ctx" in details:
        found["ctx"] = details["ctx"]
    return found
