"""Settings of the data: where frames come from, how they are read and augmented."""

from pathlib import Path

from pydantic import Field

from mink_pd.config.points import PointsConfig
from mink_pd.config.section import Folder, Range, Section, Vector3


class ObjectNoise(Section):
    """Noise on single objects: shift [m, standard deviation along x, y, z] and rotation [rad, uniform]."""

    shift: Vector3 = (0.25, 0.25, 0.25)
    rotation: tuple[float, float] = (-0.15707963, 0.15707963)


class AugmentConfig(Section):
    """Augmentation of training frames; ``enabled: false`` switches all of it off."""

    enabled: bool = True
    ground_truth_sampling: dict[str, int] = Field(default_factory=dict)  # class -> objects a frame is filled up to
    sampling_min_points: int = Field(5, ge=1)
    flip: float = Field(0.5, ge=0, le=1)  # probability of mirroring y
    flip_x: float = Field(0.0, ge=0, le=1)  # of mirroring x, for sensors that see all around
    rotation: tuple[float, float] = (-0.78539816, 0.78539816)  # of the whole frame [rad]
    scaling: tuple[float, float] = (0.95, 1.05)
    object_noise: ObjectNoise | None = None


class DataConfig(PointsConfig):
    """Where frames come from and how they are read: what the sections of all kinds of data sets share.

    A data set's own file derives from it.
    """

    kind: str
    root: Folder = Path("data/kitti")
    train_split: str = "train"
    val_split: str = "val"
    max_frames: int | None = Field(None, ge=1)  # of the training split, None: all
    classes: list[str] = ["Car", "Pedestrian", "Cyclist"]
    range: Range = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)  # x, y, z from, x, y, z to [m]
    class_balanced: bool = False  # training frames repeated so that every class is in equally many (CBGS)
    camera_view: bool = True  # of clouds with a camera's calibration, keep only the points that the camera sees
    workers: int = Field(1, ge=0)
    cache_mb: float = Field(1000, ge=0)  # memory for decoded training frames, all workers together; 0: read them anew
    augment: AugmentConfig = AugmentConfig()

    @property
    def point_features(self) -> int:
        """Columns of a point that a detector sees: x, y, z [m], intensity [0..1] and more where the data have it."""
        return 4

    @property
    def has_velocities(self) -> bool:
        """Whether objects have velocities."""
        return False
