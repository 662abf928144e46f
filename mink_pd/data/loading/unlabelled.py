"""Frames without labels, and their mixing with labelled frames in the batches of an epoch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.data.clouds.cloud_labels import moved
from mink_pd.data.dataset import SAMPLED, Dataset, probe
from mink_pd.data.formats import SUFFIXES
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.objects import Objects
from mink_pd.data.points import with_columns
from mink_pd.data.same_clouds import CloudFiles
from mink_pd.errors import ConfigError, DataError

_ORDER = 2  # the purpose of the random generator, in addition to those in mink_pd.data.loading.epochs


class Found(Protocol):
    """Detections of any origin in one frame: boxes (B, 7) in the frame of its file, names (B,), scores (B,)."""

    boxes: np.ndarray
    names: np.ndarray
    scores: np.ndarray


class UnlabelledFrames:
    """The frames of several sources, one source after the other, without labels.

    columns: of a point that the detector sees. velocities: whether the frames that they are mixed with have them.
    without: clouds of frames to leave out, in any file. A recording holds many clouds, which are not compared with
    these. Raises ConfigError where no frame is left, DataError for a file that cannot be read.
    """

    def __init__(
        self,
        sources: Sequence[Frames],
        columns: int = 4,
        velocities: bool = False,
        without: CloudFiles | None = None,
    ) -> None:
        self.columns, self.velocities = columns, velocities
        every = [(source, index) for source in sources for index in range(len(source))]
        self._entries = every if without is None else [entry for entry in every if not _is_among(entry, without)]
        self.left_out = len(every) - len(self._entries)
        self.ids = [source.ids[index] for source, index in self._entries]
        self.found: Mapping[str, Found | Objects] | None = None
        if not self.ids:
            raise ConfigError(
                f"distill.unlabelled.paths: all {self.left_out} frames are labelled ones of data.train_split or"
                " data.val_split; name others"
            )

    def give_boxes(self, found: Mapping[str, Found | Objects]) -> None:
        """Give each frame the detections of its ID, in the frame of its file or as rows of a KITTI file.

        Raises DataError if two frames have the same ID.
        """
        if len(set(self.ids)) < len(self.ids):
            twice = next(id for n, id in enumerate(self.ids) if id in self.ids[:n])
            raise DataError(f"distill.unlabelled.boxes: two frames are called {twice}; name sources with other names")
        self.found = found

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int, /) -> Frame:
        """Read frame ``index``. Raises DataError that names a malformed file."""
        source, number = self._entries[index]
        read = source[number]
        frame = Frame(read.id, with_columns(read.points, self.columns), dropped=read.dropped, labelled=False)
        if self.found is not None:
            boxes, frame.names, scores = in_lidar_frame(self.found[read.id], read)
            frame.boxes, frame.scores = boxes.astype(np.float32), scores.astype(np.float32)
        if self.velocities:
            frame.velocities = np.full((len(frame.boxes), 2), np.nan, np.float32)
        return frame

    def paths(self, index: int, /) -> list[Path]:
        """The files of frame ``index``, the cloud first."""
        source, number = self._entries[index]
        return source.paths(number)

    def identity(self) -> str:
        """A digest of the frames that stays when they are moved: names, sizes and middles of all files, SAMPLED clouds,
        and all boxes."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for path in dict.fromkeys(self.paths(index)[0] for index in range(len(self))):  # a recording has many frames
            for file in sorted(path.iterdir()) if path.is_dir() else (path,):  # a bag of ROS 2 is a folder
                digest.update(probe(file))
        for index in sorted(set(np.linspace(0, len(self) - 1, min(len(self), SAMPLED)).astype(int).tolist())):
            points = self[index].points
            digest.update(f"{points.shape}".encode() + np.ascontiguousarray(points).tobytes())
        for id in self.ids:
            for part in () if self.found is None else _contents(self.found[id]):
                digest.update(f"{part.tolist()}\n".encode())
        return digest.hexdigest()


class JoinedFrames:
    """Labelled frames, then unlabelled ones, by one index."""

    def __init__(self, labelled: Dataset | None, unlabelled: UnlabelledFrames) -> None:
        self._labelled, self._unlabelled = labelled, unlabelled
        self._first = 0 if labelled is None else len(labelled)
        self.ids = [*([] if labelled is None else labelled.ids), *unlabelled.ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Frame:
        if self._labelled is not None and index < self._first:
            return self._labelled[index]
        return self._unlabelled[index - self._first]

    def paths(self, index: int, /) -> list[Path]:
        """The files of frame ``index``."""
        if self._labelled is not None and index < self._first:
            return self._labelled.paths(index)
        return self._unlabelled.paths(index - self._first)


@dataclass(frozen=True)
class Mix:
    """The mixing of labelled and unlabelled frames in the batches of an epoch.

    An epoch has every labelled frame once. Unlabelled frames follow in turn across epochs, in a new order after each
    complete pass. Without labelled frames, an epoch has every unlabelled frame once.
    """

    labelled: int  # labelled frames per batch, over all processes
    unlabelled: int  # unlabelled frames per batch, over all processes
    frames: int  # number of unlabelled frames
    first: int  # index of the first unlabelled frame
    seed: int

    def count(self, own: int) -> int:
        """Number of unlabelled frames in an epoch of ``own`` labelled ones; that of the last batch is rounded up."""
        return -(-own * self.unlabelled // self.labelled) if self.labelled else self.frames

    def join(self, own: np.ndarray, epoch: int) -> np.ndarray:
        """Indices int64 of an epoch, batch after batch: labelled ones ``own`` (N,), then unlabelled ones."""
        drawn = self.first + self.draw(epoch, self.count(len(own)))
        if not self.labelled:
            return drawn
        batches = range(-(-len(own) // self.labelled))
        parts = [
            part
            for batch in batches
            for part in (
                own[batch * self.labelled : (batch + 1) * self.labelled],
                drawn[batch * self.unlabelled : (batch + 1) * self.unlabelled],
            )
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def draw(self, epoch: int, count: int) -> np.ndarray:
        """The numbers int64 (count,) of an epoch's unlabelled frames, which do not depend on earlier calls."""
        turn, position = np.divmod(epoch * count + np.arange(count), self.frames)
        result = np.zeros(count, np.int64)
        for number in np.unique(turn):
            order = np.random.default_rng([self.seed % 2**32, _ORDER, int(number)]).permutation(self.frames)
            result[turn == number] = order[position[turn == number]]
        return result


def in_lidar_frame(found: Found | Objects, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (B, 7) in the LiDAR frame, names and scores. Raises DataError for KITTI rows without a calibration."""
    if not isinstance(found, Objects):
        return moved(found.boxes, frame.to_lidar), found.names, found.scores
    if frame.calibration is None:
        raise DataError(
            f"frame {frame.id}: has KITTI detections and no calibration; give the frames in KITTI's layout, or"
            " detections as ID.json"
        )
    assert found.score is not None
    boxes = camera_to_lidar(found.location, found.dimensions, found.rotation_y, frame.calibration.camera_from_lidar)
    return boxes, found.names, found.score


def _contents(found: Found | Objects) -> list[np.ndarray]:
    if not isinstance(found, Objects):
        return [found.boxes, found.names, found.scores]
    assert found.score is not None
    return [found.location, found.dimensions, found.rotation_y, found.names, found.score]


def _is_among(entry: tuple[Frames, int], clouds: CloudFiles) -> bool:
    source, index = entry
    return any(path.suffix.lower() in SUFFIXES and path in clouds for path in source.paths(index)[:1])
