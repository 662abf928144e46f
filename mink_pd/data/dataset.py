"""What every data set is: frames by index, and what the rest of the package has to know of their kind."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mink_pd.config import DataConfig
from mink_pd.data.frame import Frame
from mink_pd.registry import DATASETS


@dataclass(frozen=True)
class View:
    """How pictures show a frame."""

    all_around: bool = False  # the whole circle from above; else what lies ahead, from behind the sensor
    front: float = 0.0  # direction of the vehicle's front, counter-clockwise from x [degrees]


class Dataset(ABC):
    """The frames of one split. One file per kind of data set defines a subclass, its settings and its registration.

    ``ids`` are the frames' names, in order. The number of point columns stands in the settings.
    """

    Settings: ClassVar[type[DataConfig]]
    scorer: ClassVar[str]  # its name in SCORERS
    view: ClassVar[View] = View()
    root: Path
    ids: list[str]

    @classmethod
    @abstractmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> "Dataset":
        """The first ``max_frames`` frames of a split (None: all), as ``config``, a ``Settings``, describes them.

        Raises DataError when files are missing, ConfigError for settings that the data do not support.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int, /) -> Frame:
        """Read frame ``index``. Raises DataError naming the file when one is malformed."""

    @abstractmethod
    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's objects, without reading any cloud."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A text that changes when the frames do: the key of what is derived from them."""


def open_dataset(config: DataConfig, split: str) -> Dataset:
    """The split of the configured data set; of ``config.train_split`` the first ``config.max_frames`` frames.

    Raises DataError when files are missing, ConfigError for a class that the data set lacks.
    """
    return DATASETS[config.kind].open(config, split, config.max_frames if split == config.train_split else None)


def view_of(config: DataConfig) -> View:
    """How pictures show frames of the configured data set."""
    return DATASETS[config.kind].view
