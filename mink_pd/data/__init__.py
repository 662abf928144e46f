"""Data sets: each yields frames of points and boxes in the LiDAR frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from mink_pd.config import DataConfig
from mink_pd.data.frame import Frame
from mink_pd.data.kitti import Kitti
from mink_pd.data.nuscenes import CLASSES, NuScenes
from mink_pd.errors import ConfigError

__all__ = ["Dataset", "open_dataset"]


class Dataset(Protocol):
    """Frames by index; ``ids`` are their names, in the same order."""

    root: Path
    ids: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's objects, without reading any cloud."""
        ...

    def fingerprint(self) -> str:
        """A text that changes when the frames do: the key of what is derived from them."""
        ...


def _kitti(config: DataConfig, split: str, max_frames: int | None) -> Dataset:
    return Kitti(config.root, split, classes=config.classes, camera_view=config.camera_view, max_frames=max_frames)


def _nuscenes(config: DataConfig, split: str, max_frames: int | None) -> Dataset:
    unknown = next((name for name in config.classes if name not in CLASSES), None)
    if unknown is not None:
        raise ConfigError(f"'data.classes': nuScenes has no class '{unknown}'; use {', '.join(CLASSES)}")
    return NuScenes(config.root, split, version=config.version, sweeps=config.sweeps, max_frames=max_frames)


_SOURCES: dict[str, Callable[[DataConfig, str, int | None], Dataset]] = {"kitti": _kitti, "nuscenes": _nuscenes}


def open_dataset(config: DataConfig, split: str) -> Dataset:
    """The split of the configured data set; of ``config.train_split`` the first ``config.max_frames`` frames.

    Raises DataError when files are missing, ConfigError for a class that the data set does not have.
    """
    return _SOURCES[config.kind](config, split, config.max_frames if split == config.train_split else None)
