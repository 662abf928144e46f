"""The base class of data sets: frames by index, and the properties of their kind that other packages need."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mink_pd.config import DataConfig
from mink_pd.config.data import FewerBeamsConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.beams import in_beams, kept_beams
from mink_pd.files import reading
from mink_pd.registry import DATASETS

Key = tuple[Path, str]  # of a frame: the resolved root of its data set, and its ID

SAMPLED = 24  # number of a split's frames that enter its identity completely
PROBE = 4096  # bytes from the middle of every cloud that enter it: one page, the least that a disk reads


@dataclass(frozen=True)
class View:
    """How pictures show a frame."""

    all_around: bool = False  # the whole circle from above; else what lies ahead, from behind the sensor
    front: float = 0.0  # direction of the vehicle's front, counter-clockwise from x [degrees]


class Dataset(ABC):
    """The frames of one split. Each kind of data set is one file with a subclass, its settings and its registration.

    ``ids`` are the names of the frames, in order. The settings give the number of point columns.
    """

    Settings: ClassVar[type[DataConfig]]
    scorer: ClassVar[str]  # its name in SCORERS
    view: ClassVar[View] = View()
    root: Path
    ids: list[str]

    @classmethod
    @abstractmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> "Dataset":
        """The first ``max_frames`` frames of a split (None: all) with the settings ``config``, a ``Settings``.

        Raises DataError if files are missing, ConfigError for settings that the data do not support.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int, /) -> Frame:
        """Read frame ``index``. Raises DataError that names a malformed file."""

    def paths(self, index: int, /) -> list[Path]:
        """The files of frame ``index``, if a subclass knows them."""
        return []

    def keys(self) -> list[Key]:
        """The key of each frame, by which splits are compared."""
        root = self.root.resolve()
        return [(root, id) for id in self.ids]

    def unlabelled(self) -> list[str]:
        """IDs of the frames without labels, found without reading a cloud; none, unless a subclass knows of some."""
        return []

    @abstractmethod
    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's objects, found without reading a cloud."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A text that changes if the frames change or are moved, as the key of data derived from them."""

    def identity(self) -> str:
        """A digest of the frames that does not change if they are moved.

        It covers the labels of all frames, the size and PROBE bytes of every cloud, and SAMPLED complete frames.
        Raises DataError if a frame cannot be read.
        """
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for labels in self.label_bytes():
            digest.update(labels)
        for path in self.cloud_files():
            digest.update(probe(path))
        for index in sorted(set(np.linspace(0, len(self) - 1, min(len(self), SAMPLED)).astype(int).tolist())):
            frame = self[index]
            for array in (frame.points, frame.boxes):
                digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def cloud_files(self) -> Iterable[Path]:
        """The point cloud files of all frames; empty if a subclass does not know them."""
        return ()

    def label_bytes(self) -> Iterator[bytes]:
        """Bytes that depend on the labels of all frames and are quick to read; the class names unless overridden."""
        return ("\n".join(names.tolist()).encode() for names in self.frame_names())


class FewerBeams(Dataset):
    """The frames of another data set, ``whole``, as a sensor with fewer beams sees them. What this class does not
    define is the other's.

    Raises ConfigError for a sensor file that cannot be read or has too few beams.
    """

    def __init__(self, whole: Dataset, beams: FewerBeamsConfig) -> None:
        kept_beams(beams)
        self.whole, self.beams = whole, beams
        self.root, self.ids = whole.root, whole.ids

    @classmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> Dataset:
        return open_dataset(config, split)

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int, /) -> Frame:
        frame = self.whole[index]
        return replace(frame, points=frame.points[in_beams(frame.points, self.beams)])

    def paths(self, index: int, /) -> list[Path]:
        return self.whole.paths(index)

    def keys(self) -> list[Key]:
        return self.whole.keys()

    def unlabelled(self) -> list[str]:
        return self.whole.unlabelled()

    def frame_names(self) -> list[np.ndarray]:
        return self.whole.frame_names()

    def fingerprint(self) -> str:
        return f"{self.whole.fingerprint()} {self.beams}"

    def cloud_files(self) -> Iterable[Path]:
        return self.whole.cloud_files()

    def label_bytes(self) -> Iterator[bytes]:
        return self.whole.label_bytes()

    def __getattr__(self, name: str) -> Any:
        if name == "whole":  # before __init__, as when it is unpickled
            raise AttributeError(name)
        return getattr(self.whole, name)


def whole_frames(dataset: Dataset) -> Dataset:
    """The data set with all beams of its frames."""
    return dataset.whole if isinstance(dataset, FewerBeams) else dataset


def probe(path: Path) -> bytes:
    """The size and the middle of a file. Raises DataError if it cannot be read."""
    with reading(path), path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, (size - PROBE) // 2))
        return f"{size}\n".encode() + file.read(PROBE)


def open_dataset(config: DataConfig, split: str) -> Dataset:
    """A split of the configured data set; for ``config.train_split`` only its first ``config.max_frames`` frames.

    Raises DataError if files are missing, ConfigError for a class that the data set lacks.
    """
    dataset = DATASETS[config.kind].open(config, split, config.max_frames if split == config.train_split else None)
    return dataset if config.beams is None else FewerBeams(dataset, config.beams)


def open_split(config: DataConfig, root: Path, split: str, max_frames: int | None = None) -> Dataset:
    """A split of a data set of the configured kind in any folder, with all beams. Raises DataError, ConfigError."""
    return DATASETS[config.kind].open(config.model_copy(update={"root": root}), split, max_frames)


def view_of(config: DataConfig) -> View:
    """How pictures show frames of the configured data set."""
    return DATASETS[config.kind].view
