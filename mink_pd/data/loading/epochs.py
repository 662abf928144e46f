"""Batches for training and validation, which do not depend on the number of worker processes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.config import DataConfig
from mink_pd.data import Dataset, whole_frames
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.kitti.labels import CLASSES
from mink_pd.data.loading.augment import augment
from mink_pd.data.loading.balance import Balance, occurrences
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.data.loading.beams import Thinning, as_seen
from mink_pd.data.loading.cache import CachedFrames
from mink_pd.data.loading.sampling import Database, load_database
from mink_pd.data.loading.training import Repeats, repeats_of
from mink_pd.data.loading.unlabelled import JoinedFrames, Mix, UnlabelledFrames
from mink_pd.errors import ConfigError, DataError

# The purpose of a random generator, so that no two of them draw the same numbers.
_ORDER, _AUGMENTATION = 0, 1
Key = tuple[int, int, int]


class Loader:
    """The batches of one process's share of a data set, by epoch; ``len`` is the number of batches per epoch.

    In training, every epoch has a new order. The n-th batches of all ranks together are the n-th batch of a single
    process with the total batch size, so the last batch of a rank may be smaller than that of another, or empty. In
    validation, frames are in the order of the data set. Each frame is on one rank only.
    """

    def __init__(self, loader: DataLoader, order: "EpochOrder") -> None:
        self._loader = loader
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 0; every call yields the same ones.

        Raises DataError if a frame cannot be read.
        """
        self._order.epoch = number
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch


def make_loader(
    dataset: Dataset | None,
    config: DataConfig,
    *,
    batch_size: int,
    training: bool,
    seed: int,
    rank: int = 0,
    world: int = 1,
    unlabelled: UnlabelledFrames | None = None,
    share: tuple[int, int] = (1, 0),
    teacher: DataConfig | None = None,
) -> Loader:
    """The batches of a data set, with augmentation in training.

    Points outside ``config.range`` and, with ``config.beams``, on other beams are left out. In training, frames are
    augmented, and boxes without a point or with a centre outside the range in x and y are left out. The ground-truth
    database is built if the configuration needs it. The randomness of a frame depends on seed, epoch, index and the
    number of its earlier occurrences in the epoch, as ``config.class_balanced`` or ``config.repeat`` repeat frames
    (:class:`mink_pd.data.loading.balance.Balance`, :class:`mink_pd.data.loading.training.Repeats`).

    dataset: in training the frames of :func:`mink_pd.data.open_training`;
    None if all training frames are unlabelled.
    unlabelled: frames without labels to mix into the batches of training.
    share: numbers of labelled and unlabelled frames per batch (:class:`mink_pd.data.loading.unlabelled.Mix`).
    teacher: the settings of a teacher that sees more beams; training batches then contain its points as well
    (``Batch.teacher``).

    Raises ConfigError if objects of an unknown class are to be pasted, a sensor file cannot be read, or the student
    sees beams that its teacher does not see.
    """
    thinning = Thinning.of(config, teacher) if training else Thinning(config.beams)
    dataset = None if dataset is None else whole_frames(dataset)
    drawn = _drawn(dataset, config) if training and dataset is not None else None
    labelled = 0 if dataset is None else len(dataset)
    mix = None
    if unlabelled is not None:
        mix = Mix(share[0] * world, share[1] * world, len(unlabelled), labelled, seed)
    order = EpochOrder(labelled, batch_size, training, seed, rank, world, drawn, mix)
    database = _database(dataset, config) if training and dataset else None
    frames: Frames | CachedFrames
    if unlabelled is not None:
        frames = JoinedFrames(dataset, unlabelled)
    else:
        assert dataset is not None
        frames = dataset
    if training and config.cache_mb:  # of all workers together
        frames = CachedFrames(frames, config.cache_mb / max(1, config.workers))
    loader: DataLoader = DataLoader(
        _Frames(frames, config, training, seed, database, thinning),
        batch_sampler=order,  # type: ignore[arg-type]  # its keys are triples
        num_workers=config.workers,
        collate_fn=partial(_collate, classes=config.classes),
        persistent_workers=config.workers > 0,
        worker_init_fn=_one_thread,
    )
    return Loader(loader, order)


def _drawn(dataset: Dataset, config: DataConfig) -> Balance | Repeats | None:
    """What draws the frames of an epoch; None: each frame once."""
    if config.class_balanced:
        return Balance(dataset.frame_names(), config.classes)
    return repeats_of(dataset, config)


def _database(dataset: Dataset, config: DataConfig) -> Database | None:
    """The objects to paste; None if none are configured. Raises ConfigError for an unknown class."""
    wanted = config.augment.ground_truth_sampling
    if not config.augment.enabled or not any(wanted.values()):
        return None
    known = {*config.classes, *CLASSES}
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"data.augment.ground_truth_sampling: unknown class '{unknown}'; use one of data.classes"
            f" ({', '.join(config.classes)})"
        )
    return load_database(dataset, config)


class EpochOrder:
    """Yields batches of keys (epoch, index, number of earlier occurrences in the epoch). The keys tell the epoch to
    workers, which are kept between epochs."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        training: bool,
        seed: int,
        rank: int,
        world: int,
        drawn: Balance | Repeats | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.epoch = 0
        self._own = count if drawn is None else len(drawn)
        self._count = self._own + (0 if mix is None else mix.count(self._own))
        self._mix = mix
        self._batch_size, self._training, self._seed = batch_size, training, seed
        self._rank, self._world, self._drawn = rank, world, drawn

    def __len__(self) -> int:
        share = len(range(0 if self._training else self._rank, self._count, self._world))
        return -(-share // self._batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        indices = np.arange(self._own)
        if self._training:
            rng = _generator(self._seed, _ORDER, self.epoch)
            indices = rng.permutation(self._own if self._drawn is None else self._drawn.draw(rng))
        if self._mix is not None:
            indices = self._mix.join(indices, self.epoch)
        keys = np.stack([np.full(self._count, self.epoch), indices, occurrences(indices)], axis=1)  # (N, 3)
        share = keys[self._rank :: self._world].tolist()
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            yield [tuple(key) for key in share[start : start + self._batch_size]]


class _Frames(TorchDataset):
    """Frames in the form for the network, by key (epoch, index, occurrence).

    For an unreadable frame the error is returned, because torch would wrap a raised error into a long traceback.
    """

    def __init__(
        self,
        frames: Frames | CachedFrames,
        config: DataConfig,
        training: bool,
        seed: int,
        database: Database | None,
        thinning: Thinning,
    ) -> None:
        self._frames, self._config, self._training = frames, config, training
        self._seed, self._database, self._thinning = seed, database, thinning

    def __getitem__(self, key: Key) -> Frame | DataError:
        epoch, index, occurrence = key
        try:
            frame = self._frames[index]
        except DataError as error:
            return error
        rng = _generator(self._seed, _AUGMENTATION, epoch, index, *([occurrence] if occurrence else []))
        if not self._training:
            return crop_points(self._thinning(frame, rng), self._config.range)
        frame = augment(frame, self._config.augment, rng, self._database, self._thinning)
        return keep_boxes(crop_points(frame, self._config.range), self._config.range)


def crop_points(frame: Frame, range: tuple[float, ...]) -> Frame:
    """The frame with only the points in ``range`` (lower x, y, z, upper x, y, z; upper limits are exclusive)."""
    inside = np.ones(len(frame.points), dtype=bool)
    for axis, low, high in zip((0, 1, 2), range[:3], range[3:], strict=True):
        values = frame.points[:, axis]
        inside &= (values >= np.float32(low)) & (values < np.float32(high))
    rows = np.flatnonzero(inside)  # four times as fast as the mask
    seen = None if frame.seen is None else frame.seen[rows]
    return replace(frame, points=frame.points.take(rows, axis=0), seen=seen)


def keep_boxes(frame: Frame, range: tuple[float, ...]) -> Frame:
    """The frame with only the boxes that contain a seen point and whose centre is in ``range`` in x and y."""
    low, high = np.array(range[:2], np.float32), np.array(range[3:5], np.float32)
    centre = frame.boxes[:, :2]
    keep = ((centre >= low) & (centre < high)).all(axis=1)
    keep &= np.bincount(pairs_in_boxes(as_seen(frame).points, frame.boxes)[0], minlength=len(keep)) > 0
    velocities = None if frame.velocities is None else frame.velocities[keep]
    objects = None if frame.objects is None else frame.objects[keep]
    scores = None if frame.scores is None else frame.scores[keep]
    return replace(
        frame,
        boxes=frame.boxes[keep],
        names=frame.names[keep],
        velocities=velocities,
        objects=objects,
        scores=scores,
    )


def _collate(frames: list[Frame | DataError], classes: list[str]) -> Batch | DataError:
    good: list[Frame] = []
    for frame in frames:
        if isinstance(frame, DataError):
            return frame
        good.append(frame)
    return collate(good, classes)


def _one_thread(worker: int) -> None:
    """Let a worker use one thread and leave the other cores to training."""
    torch.set_num_threads(1)


def _generator(seed: int, *use: int) -> np.random.Generator:
    return np.random.default_rng([seed % 2**32, *use])
