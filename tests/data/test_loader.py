from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from mink_pd.config.data import AugmentConfig, FewerBeamsConfig, ObjectNoise
from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch
from mink_pd.data.loading.beams import in_beams
from mink_pd.data.loading.epochs import EpochOrder, Loader, crop_points, keep_boxes, make_loader
from mink_pd.errors import ConfigError, DataError


def loader(root: Path, *, training: bool = True, workers: int = 0, rank: int = 0, world: int = 1) -> Loader:
    augment = AugmentConfig(ground_truth_sampling={"Car": 4}, object_noise=ObjectNoise())
    config = KittiConfig(root=root, workers=workers, augment=augment)
    dataset = open_dataset(config, "train" if training else "val")
    return make_loader(dataset, config, batch_size=2, training=training, seed=3, rank=rank, world=world)


def same(first: list[Batch], second: list[Batch]) -> bool:
    def tensors(batches: list[Batch]) -> list[torch.Tensor]:
        return [t for b in batches for t in (b.points, b.frame, *b.boxes, *b.labels)]

    pairs = list(zip(tensors(first), tensors(second), strict=False))
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in pairs)


def ids(batches: list[Batch]) -> list[str]:
    return [frame.id for batch in batches for frame in batch.frames]


def test_batches_do_not_depend_on_workers_or_on_what_came_before(kitti_root: Path) -> None:
    alone = loader(kitti_root)
    epochs = [list(alone.epoch(n)) for n in range(3)]
    helped = loader(kitti_root, workers=2)
    for n, epoch in enumerate(epochs):
        assert same(list(helped.epoch(n)), epoch)
    assert same(list(loader(kitti_root, workers=1).epoch(2)), epochs[2])  # a resumed run
    assert not same(epochs[0], epochs[1])
    assert ids(epochs[0]) != ids(epochs[1])
    assert sorted(ids(epochs[0])) == sorted(ids(epochs[1])) == [f"{n:06d}" for n in range(7)]


def test_an_epoch_left_halfway_does_not_disturb_the_next(kitti_root: Path) -> None:
    expected = list(loader(kitti_root).epoch(1))
    helped = loader(kitti_root, workers=2)
    next(helped.epoch(0))
    assert same(list(helped.epoch(1)), expected)


def test_a_frame_is_augmented_the_same_on_any_rank(kitti_root: Path) -> None:
    alone = {frame.id: frame for batch in loader(kitti_root).epoch(4) for frame in batch.frames}
    for rank in range(2):
        for batch in loader(kitti_root, rank=rank, world=2).epoch(4):
            for frame in batch.frames:
                np.testing.assert_array_equal(frame.points, alone[frame.id].points)


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (7, 3), (2, 3), (8, 4)])
def test_training_ranks_step_through_the_batches_of_one(count: int, world: int) -> None:
    orders = [list(EpochOrder(count, 2, True, 0, rank, world)) for rank in range(world)]
    alone = list(EpochOrder(count, 2 * world, True, 0, 0, 1))
    assert [sorted(chain(*batches)) for batches in zip(*orders, strict=True)] == [sorted(batch) for batch in alone]
    for rank in range(world):
        assert len(EpochOrder(count, 2, True, 0, rank, world)) == len(alone)


def test_a_rank_without_frames_gets_an_empty_batch(kitti_root: Path) -> None:
    last = list(loader(kitti_root, rank=2, world=3).epoch(0))[-1]  # 7 frames: 6, then 1 for the first rank
    assert len(last) == len(last.points) == len(last.frame) == 0


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (2, 3)])
def test_validation_ranks_share_frames_once(count: int, world: int) -> None:
    orders = [EpochOrder(count, 2, False, 0, rank, world) for rank in range(world)]
    shares = [[index for batch in order for _, index, _ in batch] for order in orders]
    assert sorted(index for share in shares for index in share) == list(range(count))
    assert [len(order) for order in orders] == [len(list(order)) for order in orders]


def test_validation_frames_are_as_they_are_on_disk(kitti_root: Path) -> None:
    batches = list(loader(kitti_root, training=False).epoch(0))
    assert ids(batches) == ["000007", "000008", "000009"]
    config = KittiConfig(root=kitti_root)
    frame, original = batches[0].frames[0], open_dataset(config, "val")[0]
    np.testing.assert_array_equal(frame.boxes, original.boxes)
    assert frame.objects is not None
    assert frame.calibration is not None
    assert {tuple(p) for p in frame.points} <= {tuple(p) for p in original.points}


def test_batches_hold_what_the_frames_hold(kitti_root: Path) -> None:
    batch = next(loader(kitti_root, training=False).epoch(0))
    assert len(batch) == 2
    for n, frame in enumerate(batch.frames):
        np.testing.assert_array_equal(batch.points[batch.frame == n], frame.points)
        np.testing.assert_array_equal(batch.boxes[n], frame.boxes[:2])  # no Van
        assert batch.labels[n].tolist() == [0, 1]


def test_points_outside_the_range_are_left_out() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-3, 3, (2000, 4)).astype(np.float32)
    points[:3, :3] = [[0, -1, -1], [2, 0, 0], [1, 1, 0.5]]  # on lower faces, on upper faces
    range = (0.0, -1.0, -1.0, 2.0, 1.0, 1.0)
    expected = [p for p in points if all(a <= v < b for a, v, b in zip(range[:3], p[:3], range[3:], strict=True))]
    np.testing.assert_array_equal(crop_points(Frame("0", points), range).points, expected)


def test_boxes_without_points_or_outside_are_left_out() -> None:
    boxes = np.array([[1, 0, 0, 1, 1, 1, 0], [1, 3, 0, 1, 1, 1, 0], [9, 0, 0, 1, 1, 1, 0], [1, 0, 5, 1, 1, 1, 0]])
    points = np.array([[1, 0, 0, 0], [9, 0, 0, 0], [1, 0, 5, 0]], np.float32)
    moving = np.arange(8, dtype=np.float32).reshape(4, 2)
    frame = Frame("0", points, boxes.astype(np.float32), np.array(["Car", "Van", "Tram", "Misc"]), moving)
    kept = keep_boxes(frame, (0, -5, -1, 8, 5, 1))
    assert kept.velocities is not None
    assert kept.velocities.tolist() == [[0, 1], [6, 7]]
    assert kept.names.tolist() == ["Car", "Misc"]  # the height of a centre does not count
    np.testing.assert_array_equal(kept.boxes, boxes[[0, 3]])


def test_frames_out_of_range_make_empty_ones(kitti_root: Path) -> None:
    config = KittiConfig(root=kitti_root, workers=0, range=(500, -10, -3, 520, 10, 1))
    for training in (True, False):
        dataset = open_dataset(config, "train")
        batches = list(make_loader(dataset, config, batch_size=4, training=training, seed=0).epoch(0))
        assert [len(batch) for batch in batches] == [4, 3]
        assert all(batch.points.shape == (0, 4) for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_frame_is_one_line_whatever_the_workers(kitti_root: Path, workers: int) -> None:
    config = KittiConfig(root=kitti_root, workers=workers)
    (kitti_root / "training" / "velodyne" / "000004.bin").write_bytes(b"12345")
    train = make_loader(open_dataset(config, "train"), config, batch_size=2, training=True, seed=0)
    with pytest.raises(DataError, match=r"000004\.bin: truncated") as error:
        list(train.epoch(0))
    assert "\n" not in str(error.value)


def test_an_unknown_class_to_paste_is_named(kitti_root: Path) -> None:
    augment = AugmentConfig(ground_truth_sampling={"Carr": 4})
    config = KittiConfig(root=kitti_root, augment=augment)
    with pytest.raises(ConfigError, match="ground_truth_sampling: unknown class 'Carr'"):
        make_loader(open_dataset(config, "train"), config, batch_size=2, training=True, seed=0)


THIN = {"sensor": "hdl64e", "keep": 16}


@pytest.mark.parametrize("enabled", [True, False])
def test_student_and_teacher_see_what_each_would_see_alone(kitti_root: Path, enabled: bool) -> None:
    """With pasted objects and all of augmentation: beams are told apart before anything moves."""
    augment = AugmentConfig(enabled=enabled, ground_truth_sampling={"Car": 4}, object_noise=ObjectNoise())
    whole = KittiConfig(root=kitti_root, workers=0, augment=augment)
    thin = KittiConfig.model_validate(whole.model_dump() | {"beams": THIN})

    def batches(config: KittiConfig, teacher: KittiConfig | None = None) -> list[Batch]:
        dataset = open_dataset(config, "train")
        load = make_loader(dataset, config, batch_size=2, training=True, seed=3, teacher=teacher)
        return list(chain(load.epoch(0), load.epoch(1)))

    alone, teachers, distilled = batches(thin), batches(whole), batches(thin, whole)
    assert same(alone, distilled)
    assert all(batch.teacher is None for batch in alone + teachers)
    for batch, theirs in zip(distilled, teachers, strict=True):
        assert batch.teacher is not None
        assert torch.equal(batch.teacher.points, theirs.points)
        assert torch.equal(batch.teacher.frame, theirs.frame)
        assert len(batch.points) < len(batch.teacher.points)
        for frame in batch.frames:
            assert len(keep_boxes(frame, whole.range).boxes) == len(frame.boxes)  # each holds a point that is seen
    moved = batch.to("meta")
    assert moved.teacher is not None
    assert moved.teacher.points.is_meta


def test_validation_sees_the_same_beams(kitti_root: Path) -> None:
    whole = KittiConfig(root=kitti_root, workers=0)
    thin = KittiConfig.model_validate(whole.model_dump() | {"beams": THIN})
    dataset, original = open_dataset(thin, "val"), open_dataset(whole, "val")
    assert dataset.fingerprint() != original.fingerprint()
    assert dataset.identity() != original.identity()
    assert dataset.paths(0) == original.paths(0)
    for frame, all_points, batch in zip(
        (dataset[index] for index in range(len(dataset))),
        (original[index] for index in range(len(original))),
        make_loader(dataset, thin, batch_size=1, training=False, seed=0).epoch(0),
        strict=True,
    ):
        expected = all_points.points[in_beams(all_points.points, FewerBeamsConfig(**THIN))]
        np.testing.assert_array_equal(frame.points, expected)
        assert torch.equal(batch.points, torch.from_numpy(crop_points(frame, thin.range).points))
        assert frame.objects is not None
        assert batch.teacher is None
