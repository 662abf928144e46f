from pathlib import Path

import numpy as np
import pytest

from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import Kitti, KittiConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.cache import CachedFrames
from mink_pd.data.loading.epochs import make_loader


class Counted:
    """A data set that counts how often each frame is read."""

    def __init__(self, dataset: Kitti) -> None:
        self.root, self.ids, self.dataset = dataset.root, dataset.ids, dataset
        self.reads = [0] * len(dataset)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Frame:
        self.reads[index] += 1
        return self.dataset[index]

    def paths(self, index: int, /) -> list[Path]:
        return self.dataset.paths(index)


def test_frames_are_read_once_and_are_the_same(kitti_root: Path) -> None:
    counted = Counted(Kitti(kitti_root, "train"))
    cached = CachedFrames(counted, 100)
    for _ in range(3):
        for index in range(7):
            ours, wanted = cached[index], counted.dataset[index]
            for key in ("points", "boxes", "names"):
                np.testing.assert_array_equal(getattr(ours, key), getattr(wanted, key))
            assert ours.objects is not None
            np.testing.assert_array_equal(ours.objects.bbox, wanted.objects.bbox)
    assert counted.reads == [1] * 7


def test_the_bound_holds_and_what_is_in_stays(kitti_root: Path) -> None:
    counted = Counted(Kitti(kitti_root, "train"))
    points = counted.dataset[0].points.nbytes
    cached = CachedFrames(counted, 2.5 * points / 1e6)
    for _ in range(3):
        for index in range(7):
            cached[index]
    assert sorted(counted.reads) == [1, 1, 3, 3, 3, 3, 3]
    assert sum(frame.points.nbytes for frame in cached._frames.values()) <= 2.5 * points


def test_a_reader_cannot_change_what_the_next_one_gets(kitti_root: Path) -> None:
    cached = CachedFrames(Kitti(kitti_root, "train"), 100)
    for _ in range(2):  # as it is read, and from memory
        frame = cached[0]
        assert frame.objects is not None
        for array in (frame.points, frame.boxes, frame.names, frame.objects.bbox):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = array[::-1].copy()
        frame.points, frame.objects.names = np.zeros((0, 4)), np.zeros(0)
    assert len(cached[0].points)
    assert len(cached[0].objects.names) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_training_sees_the_same_frames_with_and_without(kitti_root: Path, workers: int) -> None:
    batches = []
    for megabytes in (0, 0.03, 100):
        config = KittiConfig(root=kitti_root, workers=workers, cache_mb=megabytes)
        loader = make_loader(open_dataset(config, "train"), config, batch_size=2, training=True, seed=3)
        batches.append([batch for epoch in range(2) for batch in loader.epoch(epoch)])
    for other in batches[1:]:
        for ours, wanted in zip(other, batches[0], strict=True):
            assert (ours.points == wanted.points).all()
            assert all((a == b).all() for a, b in zip(ours.boxes, wanted.boxes, strict=True))
