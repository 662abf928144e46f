"""Frames without labels in the batches of an epoch."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from mink_pd.config.data import AugmentConfig
from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.augment import augment
from mink_pd.data.loading.batch import collate
from mink_pd.data.loading.epochs import EpochOrder, Loader, keep_boxes, make_loader
from mink_pd.data.loading.sampling import Database
from mink_pd.data.loading.unlabelled import Mix, UnlabelledFrames
from mink_pd.detect.clouds import PointFiles
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import ConfigError, DataError


def mixed(root: Path, *, rank: int = 0, world: int = 1, workers: int = 0, batch_size: int = 2) -> Loader:
    """Seven labelled frames and the three of val without their labels."""
    augmented = AugmentConfig(ground_truth_sampling={"Car": 4})
    config = KittiConfig(root=root, workers=workers, augment=augmented)
    return make_loader(
        open_dataset(config, "train"),
        config,
        batch_size=batch_size,
        training=True,
        seed=3,
        rank=rank,
        world=world,
        unlabelled=UnlabelledFrames([open_dataset(config, "val")]),
        share=(batch_size - 1, 1),
    )


def test_every_batch_has_its_share_and_all_frames_come_in_turn(kitti_root: Path) -> None:
    loader = mixed(kitti_root, batch_size=3)
    drawn: list[str] = []
    for epoch in range(3):
        batches = list(loader.epoch(epoch))
        assert len(batches) == len(loader) == 4
        labelled = [[frame.id for frame in batch.frames if frame.labelled] for batch in batches]
        assert [len(some) for some in labelled] == [2, 2, 2, 1]
        assert sorted(id for some in labelled for id in some) == [f"{n:06d}" for n in range(7)]
        assert all(sum(not frame.labelled for frame in batch.frames) == 1 for batch in batches)
        drawn += [frame.id for batch in batches for frame in batch.frames if not frame.labelled]
    assert Counter(drawn) == {"000007": 4, "000008": 4, "000009": 4}
    for turn in range(4):
        assert len(set(drawn[3 * turn : 3 * turn + 3])) == 3  # a new order only when all have come


def test_workers_and_ranks_change_nothing(kitti_root: Path) -> None:
    alone, helped = mixed(kitti_root), mixed(kitti_root, workers=2)
    for ours, theirs in zip(alone.epoch(2), helped.epoch(2), strict=True):
        assert [frame.id for frame in ours.frames] == [frame.id for frame in theirs.frames]
        assert torch.equal(ours.points, theirs.points)
    frames = {(frame.id, len(frame.points)) for batch in alone.epoch(1) for frame in batch.frames}
    ranks = [batch for rank in range(2) for batch in mixed(kitti_root, rank=rank, world=2).epoch(1)]
    shared = {(frame.id, len(frame.points)) for batch in ranks for frame in batch.frames}
    assert shared == frames


@pytest.mark.parametrize(("labelled", "frames", "world"), [(7, 5, 1), (7, 5, 2), (8, 40, 3), (1, 1, 2)])
def test_ranks_step_through_the_batches_of_one(labelled: int, frames: int, world: int) -> None:
    def order(rank: int, world: int, batch: int) -> EpochOrder:
        mix = Mix(batch // 2 * world, batch // 2 * world, frames, labelled, seed=0)
        return EpochOrder(labelled, batch, True, 0, rank, world, None, mix)

    alone = list(order(0, 1, 4 * world))
    ranks = [list(order(rank, world, 4)) for rank in range(world)]
    assert [sorted(key for part in parts for key in part) for parts in zip(*ranks, strict=True)] == [
        sorted(batch) for batch in alone
    ]
    assert all(len(order(rank, world, 4)) == len(alone) for rank in range(world))
    for parts in zip(*ranks, strict=True):
        for part in parts if len(parts[-1]) == 4 else []:
            assert sum(index >= labelled for _, index, _ in part) == 2


def test_without_labelled_frames_an_epoch_has_each_once(kitti_root: Path) -> None:
    config = KittiConfig(root=kitti_root, workers=0, augment=AugmentConfig(ground_truth_sampling={"Car": 4}))
    frames = UnlabelledFrames([open_dataset(config, "val")])
    loader = make_loader(None, config, batch_size=2, training=True, seed=0, unlabelled=frames, share=(0, 2))
    epochs = [[frame for batch in loader.epoch(n) for frame in batch.frames] for n in range(2)]
    for epoch in epochs:
        assert sorted(frame.id for frame in epoch) == ["000007", "000008", "000009"]
        assert not any(frame.labelled or len(frame.boxes) for frame in epoch)
    assert not np.array_equal(epochs[0][0].points, epochs[1][0].points)


def test_labels_are_not_read_and_columns_are_those_of_the_detector(kitti_root: Path) -> None:
    label = kitti_root / "training" / "label_2" / "000008.txt"
    label.write_text(label.read_text() + label.read_text())
    config = KittiConfig(root=kitti_root)
    frames = UnlabelledFrames([open_dataset(config, "val")], columns=5, velocities=True)
    frame = frames[1]
    assert (frame.id, frame.labelled, len(frame.boxes)) == ("000008", False, 0)
    assert frame.points.shape[1] == 5
    assert (frame.points[:, 4] == 0).all()
    assert frame.velocities is not None
    assert frame.velocities.shape == (0, 2)


def test_labelled_clouds_are_left_out(kitti_root: Path) -> None:
    clouds = PointFiles([kitti_root / "training" / "velodyne"], None, camera_view=True)
    known = {(kitti_root / "training" / "velodyne" / f"{n:06d}.bin").resolve() for n in range(8)}
    frames = UnlabelledFrames([clouds], without=known)
    assert frames.ids == ["000008", "000009"]
    assert frames.left_out == 8
    known |= {path.resolve() for index in range(10) for path in clouds.paths(index)[:1]}
    with pytest.raises(ConfigError, match="all 10 frames"):
        UnlabelledFrames([clouds], without=known)


def test_the_digest_follows_clouds_and_boxes(kitti_root: Path) -> None:
    config = KittiConfig(root=kitti_root)

    def digest(boxes: float | None = None) -> str:
        frames = UnlabelledFrames([open_dataset(config, "val")])
        if boxes is not None:
            box = FrameDetections(np.full((1, 7), boxes), np.array(["Car"]), np.array([0.5]))
            frames.give_boxes({id: box for id in frames.ids})
        return frames.identity()

    before = digest()
    assert digest() == before
    assert len({before, digest(1.0), digest(2.0)}) == 3
    cloud = kitti_root / "training" / "velodyne" / "000009.bin"
    cloud.write_bytes(cloud.read_bytes()[:-16])
    assert digest() != before


def test_boxes_of_files_are_augmented_with_their_frame(kitti_root: Path) -> None:
    config = KittiConfig(root=kitti_root, camera_view=False)
    source = open_dataset(config, "val")
    labelled = [source[index] for index in range(3)]
    found = {frame.id: FrameDetections(frame.boxes, frame.names, np.array([0.9, 0.4, 0.2])) for frame in labelled}
    frames = UnlabelledFrames([source])
    frames.give_boxes(found)
    turning = AugmentConfig(flip=1.0, rotation=(0.4, 0.5))
    changed = augment(frames[0], turning, np.random.default_rng(0))
    wanted = augment(labelled[0], turning, np.random.default_rng(0))
    np.testing.assert_allclose(changed.boxes, wanted.boxes, atol=1e-5)
    assert changed.scores is not None
    assert changed.scores.tolist() == pytest.approx([0.9, 0.4, 0.2])
    kept = keep_boxes(changed, (0, -40, -3, 15, 40, 1))
    assert kept.scores is not None
    assert len(kept.scores) == len(kept.boxes) < 3
    batch = collate([changed, labelled[1]], ["Pedestrian", "Car"])
    assert batch.scores is not None
    assert [scores.tolist() for scores in batch.scores] == [pytest.approx([0.9, 0.4]), [np.inf, np.inf]]
    assert batch.labels[0].tolist() == [1, 0]
    twice = UnlabelledFrames([source, source])
    with pytest.raises(DataError, match="000007"):
        twice.give_boxes(found)


def test_kitti_rows_are_boxes_of_the_lidar_frame(kitti_root: Path) -> None:
    source = open_dataset(KittiConfig(root=kitti_root), "val")
    rows = source[0].objects
    assert rows is not None
    rows.score = np.array([0.9, 0.8, 0.7])
    frames = UnlabelledFrames([source])
    frames.give_boxes({id: rows for id in frames.ids})
    np.testing.assert_allclose(frames[0].boxes, source[0].boxes, atol=1e-5)
    (kitti_root / "training" / "calib" / "000007.txt").unlink()
    clouds = UnlabelledFrames([PointFiles([kitti_root / "training" / "velodyne" / "000007.bin"], None, False)])
    clouds.give_boxes({"000007": rows})
    with pytest.raises(DataError, match="no calibration"):
        clouds[0]


def test_objects_are_pasted_where_nothing_stands(scene: Frame) -> None:
    """One car over the scene's own car, one on free ground."""
    car = np.array([[12.5, 1.2, -1.0, 3.9, 1.6, 1.5, 0.4], [30.0, -8.0, -1.0, 3.9, 1.6, 1.5, 0.0]], np.float32)
    points = np.concatenate([car[:1, :3], car[1:, :3]]).repeat(6, axis=0)
    database = Database(
        points=np.column_stack([points, np.zeros(12)]).astype(np.float32),
        offsets=np.array([0, 6, 12]),
        boxes=car,
        names=np.array(["Car", "Car"]),
        velocities=np.zeros((2, 2), np.float32),
    )
    for labelled, wanted in ((True, 2), (False, 1)):
        bare = Frame("0", scene.points, labelled=labelled, scores=np.zeros(0, np.float32))
        result = database.paste(bare, {"Car": 2}, 5, np.random.default_rng(0))
        assert len(result.boxes) == wanted
        assert result.boxes[:, 0].max() == 30
        assert result.scores is not None
        assert result.scores.tolist() == [np.inf] * wanted
        assert result.labelled == labelled
