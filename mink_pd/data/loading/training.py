"""The labelled frames of a training: those of ``data.train_split`` and of ``data.also``, and how often each occurs."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mink_pd.config import DataConfig
from mink_pd.data.dataset import Dataset, FewerBeams, Key, open_dataset, open_split, whole_frames
from mink_pd.data.frame import Frame
from mink_pd.data.splits import check_labelled


class SeveralSets(Dataset):
    """The frames of several data sets of one kind, one set after the other.

    Frames of different sets may have the same ID. ``root`` is that of the first set.
    """

    def __init__(self, sets: Sequence[Dataset]) -> None:
        self.sets = list(sets)
        self.root, self.ids = self.sets[0].root, [id for one in self.sets for id in one.ids]
        self._first = np.cumsum([0, *(len(one) for one in self.sets)])  # (S + 1,) index of each set's first frame

    @classmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> Dataset:
        return open_training(config)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Frame:
        one, number = self._locate(index)
        return one[number]

    def paths(self, index: int, /) -> list[Path]:
        one, number = self._locate(index)
        return one.paths(number)

    def keys(self) -> list[Key]:
        return list(chain.from_iterable(one.keys() for one in self.sets))

    def unlabelled(self) -> list[str]:
        return [id for one in self.sets for id in one.unlabelled()]

    def frame_names(self) -> list[np.ndarray]:
        return [names for one in self.sets for names in one.frame_names()]

    def fingerprint(self) -> str:
        return " ".join(one.fingerprint() for one in self.sets)

    def identity(self) -> str:
        return hashlib.sha256(" ".join(one.identity() for one in self.sets).encode()).hexdigest()

    def cloud_files(self) -> Iterable[Path]:
        return (path for one in self.sets for path in one.cloud_files())

    def label_bytes(self) -> Iterator[bytes]:
        return (labels for one in self.sets for labels in one.label_bytes())

    def _locate(self, index: int) -> tuple[Dataset, int]:
        """The set of frame ``index``, and the frame's index in it."""
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return self.sets[number], index - int(self._first[number])


class Repeats:
    """The frames of an epoch that has frame i ``counts[i]`` times. ``len`` is the number of frames per epoch."""

    def __init__(self, counts: np.ndarray) -> None:
        self._frames = np.repeat(np.arange(len(counts)), counts)  # int64

    def __len__(self) -> int:
        return len(self._frames)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The same frames int64 in every epoch, in order."""
        return self._frames


def open_training(config: DataConfig) -> Dataset:
    """The labelled frames of a training, each once: ``train_split`` unless ``repeat`` is 0, then the sets of ``also``.

    Raises DataError and ConfigError as ``open_dataset`` does, and DataError for frames without labels.
    """
    sets = training_sets(config)
    joined = SeveralSets(sets) if config.also else sets[0]
    return joined if config.beams is None else FewerBeams(joined, config.beams)


def training_sets(config: DataConfig, root: Path | None = None) -> list[Dataset]:
    """The sets of :func:`open_training`, with all beams; with ``root``, only those in that folder."""

    def wanted(folder: Path) -> bool:
        return root is None or folder.resolve() == root.resolve()

    own = [_own(config)] if config.repeat and wanted(config.root) else []
    also = [name for name, one in config.also.items() if wanted(one.root or config.root)]
    return [*own, *(_open(config, name) for name in also)]


def repeats_of(dataset: Dataset, config: DataConfig) -> Repeats | None:
    """How often an epoch has each frame of :func:`open_training`; None: each once."""
    counts = [count for count in (config.repeat, *(one.repeat for one in config.also.values())) if count]
    if max(counts) == 1:
        return None
    whole = whole_frames(dataset)
    sizes = [len(one) for one in whole.sets] if isinstance(whole, SeveralSets) else [len(whole)]
    return Repeats(np.repeat(counts, sizes))


def _own(config: DataConfig) -> Dataset:
    """The frames of ``train_split``."""
    return check_labelled(whole_frames(open_dataset(config, config.train_split)), "data.train_split")


def _open(config: DataConfig, name: str) -> Dataset:
    """One of the sets of ``also``, opened as a training split."""
    also = config.also[name]
    root = also.root or config.root
    dataset = open_split(config.model_copy(update={"train_split": also.split}), root, also.split, also.max_frames)
    return check_labelled(dataset, f"data.also.{name}")
