"""Settings of the data: where frames come from, how they are read and augmented."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from mink_pd.config.points import PointsConfig
from mink_pd.config.section import Count, Folder, Positive, Range, Section, Span, Weight, check_span

Kept = Annotated[float, Field(gt=0, le=1)]


class ObjectNoise(Section):
    """Noise on single objects: shift [m, standard deviation along x, y, z] and rotation [rad, uniform]."""

    shift: tuple[Weight, Weight, Weight] = (0.25, 0.25, 0.25)
    rotation: Span = (-0.15707963, 0.15707963)


class Tilt(Section):
    """A random pose of the LiDAR over the ground, for each frame.

    slope: standard deviation of the ground's slopes along x and y; height: the same of its height [m].
    """

    slope: tuple[Weight, Weight] = (0.01, 0.01)
    height: Weight = 0.05


class BeamsConfig(Section):
    """Beams dropped at random, to simulate a LiDAR with fewer beams.

    sensor: a YAML file of its beams, or one of configs/sensors, such as hdl64e. keep: bounds of the share of
    beams that are kept, drawn for each frame.
    """

    sensor: str
    keep: Annotated[tuple[Kept, Kept], AfterValidator(check_span)] = (0.25, 1.0)


class FewerBeamsConfig(Section):
    """Every frame as a LiDAR with fewer beams sees it, in training and in validation.

    sensor: as in ``BeamsConfig``; keep: number of its beams that are kept, evenly spread from the highest one down.
    """

    sensor: str
    keep: Count


class AugmentConfig(Section):
    """Augmentation of training frames; ``enabled: false`` disables all of it."""

    enabled: bool = True
    # class -> number of objects that a frame is filled up to
    ground_truth_sampling: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    sampling_min_points: int = Field(5, ge=1)
    flip: float = Field(0.5, ge=0, le=1)  # probability of mirroring y
    flip_x: float = Field(0.0, ge=0, le=1)  # of mirroring x, for sensors with a 360-degree view
    rotation: Span = (-0.78539816, 0.78539816)  # of the whole frame [rad]
    scaling: Annotated[tuple[Positive, Positive], AfterValidator(check_span)] = (0.95, 1.05)
    object_noise: ObjectNoise | None = None
    tilt: Tilt | None = None
    beams: BeamsConfig | None = None


class AlsoConfig(Section):
    """Further labelled frames to train on, of the same kind as the data set and read with the same settings.

    root: of these frames; None: ``data.root``. repeat: how often an epoch has each of them.
    max_frames: number of frames from the start of the split; None: all.
    """

    root: Folder | None = None
    split: str = "train"
    repeat: Count = 1
    max_frames: Count | None = None


class DataConfig(PointsConfig):
    """Settings that all data sets share: where frames come from and how they are read.

    Each data set derives its own section from it.
    """

    kind: str
    root: Folder = Path("data/kitti")
    train_split: str = "train"
    val_split: str = "val"
    max_frames: int | None = Field(None, ge=1)  # of the training split, None: all
    repeat: int = Field(1, ge=0)  # how often an epoch has each frame of the training split; 0: train on ``also`` only
    also: dict[str, AlsoConfig] = Field(default_factory=dict)  # name -> further training frames (docs/own_data.md)
    classes: list[str] = Field(["Car", "Pedestrian", "Cyclist"], min_length=1)
    range: Range = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)  # x, y, z from, x, y, z to [m]
    class_balanced: bool = False  # repeat training frames so that every class occurs in equally many (CBGS)
    camera_view: bool = True  # of clouds with a camera's calibration, keep only the points that the camera sees
    image_size: tuple[Count, Count] | None = None  # width, height [px] of the camera's images if the images are missing
    workers: int = Field(1, ge=0)
    cache_mb: float = Field(
        1000, ge=0
    )  # [MB] for decoded training frames over all workers; 0: read frames again each epoch
    beams: FewerBeamsConfig | None = None
    augment: AugmentConfig = AugmentConfig()

    @field_validator("classes")
    @classmethod
    def _classes_are_told_apart(cls, classes: list[str]) -> list[str]:
        lower = [name.strip().lower() for name in classes]
        twice = next((name for n, name in enumerate(classes) if lower[n] in lower[:n] or not lower[n]), None)
        if twice is not None:
            raise ValueError(
                f"lists '{twice}' twice (upper and lower case do not differ); list each class once"
                if twice.strip()
                else "lists an empty name"
            )
        return classes

    @model_validator(mode="after")
    def _frames_are_repeated_by_one_rule(self) -> "DataConfig":
        repeats = {
            "data.repeat": self.repeat,
            **{f"data.also.{name}.repeat": one.repeat for name, one in self.also.items()},
        }
        several = next((key for key, repeat in repeats.items() if repeat > 1), None)
        if self.class_balanced and several is not None:
            raise ValueError(f"class_balanced chooses how often a frame occurs, and so does {several}; use one of them")
        return self

    @model_validator(mode="after")
    def _there_are_frames_to_train_on(self) -> "DataConfig":
        if self.repeat == 0 and not self.also:
            raise ValueError("repeat is 0, which leaves out the training split, and also is empty; name frames in also")
        return self

    @property
    def point_features(self) -> int:
        """Point columns that a detector uses: x, y, z [m], intensity [0..1] and any others of the data set."""
        return 4

    @property
    def has_velocities(self) -> bool:
        """Whether objects have velocities."""
        return False
