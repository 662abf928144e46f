"""Training frames of several data sets: their order, their repeats, and what is pasted from them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_kitti import write_data

from mink_pd.config.data import AugmentConfig
from mink_pd.data import open_dataset, open_training
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.data.loading.epochs import Loader, make_loader
from mink_pd.data.loading.sampling import load_database
from mink_pd.errors import DataError
from mink_pd.train.run_folder import identify_data

REAL, STREET = ["000000", "000001"], ["000000", "000007", "000008"]  # one ID is in both


@pytest.fixture
def config(tmp_path: Path) -> KittiConfig:
    write_data(tmp_path / "real", REAL, ["000005"])
    write_data(tmp_path / "street", [*STREET, "000009"], [])
    also = {"street": {"root": tmp_path / "street", "max_frames": 3}, "again": {"split": "val", "repeat": 2}}
    return KittiConfig(root=tmp_path / "real", repeat=3, also=also, workers=0)  # type: ignore[arg-type]


def batches(config: KittiConfig, rank: int = 0, world: int = 1) -> Loader:
    size = 4 // world
    return make_loader(open_training(config), config, batch_size=size, training=True, seed=5, rank=rank, world=world)


def ids(loader: Loader, epoch: int) -> list[str]:
    return [frame.id for batch in loader.epoch(epoch) for frame in batch.frames]


def test_an_epoch_has_every_frame_as_often_as_is_said(config: KittiConfig) -> None:
    dataset = open_training(config)
    assert dataset.ids == [*REAL, *STREET, "000005"]
    loader = batches(config)
    orders = [ids(loader, epoch) for epoch in (0, 1)]
    for order in orders:
        assert Counter(order) == {"000000": 3 + 1, "000001": 3, "000007": 1, "000008": 1, "000005": 2}
    assert orders[0] != orders[1]
    assert ids(batches(config), 1) == orders[1]  # as after --resume: no earlier epoch was drawn
    assert len(loader) == 3


def test_frames_come_from_their_own_set(config: KittiConfig) -> None:
    dataset = open_training(config)
    real = open_dataset(config, "train")
    alone = open_dataset(KittiConfig(root=config.also["street"].root), "train")  # type: ignore[arg-type]
    for index, (source, place) in enumerate([(real, 0), (real, 1), (alone, 0), (alone, 1), (alone, 2)]):
        assert np.array_equal(dataset[index].points, source[place].points)
        assert dataset.paths(index) == source.paths(place)
    assert [len(names) for names in dataset.frame_names()] == [2] * 6


def test_repeats_of_a_frame_are_augmented_each_in_its_own_way(config: KittiConfig) -> None:
    seen = [
        b.points[b.frame == n] for b in batches(config).epoch(0) for n, f in enumerate(b.frames) if f.id == "000001"
    ]
    assert len(seen) == 3
    sums = {float(points.double().abs().sum()) for points in seen}
    assert len(sums) == 3


def test_two_processes_step_through_the_batches_of_one(config: KittiConfig) -> None:
    whole = list(batches(config).epoch(1))
    shares = [list(batches(config, rank, 2).epoch(1)) for rank in (0, 1)]
    for one, *halves in zip(whole, *shares, strict=True):
        frames = {(f.id, float(f.points.sum())) for f in one.frames}
        assert frames == {(f.id, float(f.points.sum())) for half in halves for f in half.frames}
        assert len(one) == sum(len(half) for half in halves)
        total = torch.stack([half.points.double().sum(0) for half in halves]).sum(0)
        assert torch.allclose(one.points.double().sum(0), total)


def test_objects_are_pasted_from_all_sets(config: KittiConfig) -> None:
    database = load_database(open_training(config), config)
    own = [load_database(open_dataset(config, split), config) for split in ("train", "val")]
    street = KittiConfig(root=config.also["street"].root, max_frames=3)  # type: ignore[arg-type]
    parts = [own[0], load_database(open_dataset(street, "train"), street), own[1]]
    assert np.array_equal(database.boxes, np.concatenate([part.boxes for part in parts]))
    assert np.array_equal(database.points, np.concatenate([part.points for part in parts]))


def test_a_training_may_leave_out_the_split_of_its_own(config: KittiConfig) -> None:
    others = config.model_copy(update={"repeat": 0, "train_split": "which does not exist"})
    assert open_training(others).ids == [*STREET, "000005"]
    assert Counter(ids(batches(others), 0)) == {"000000": 1, "000007": 1, "000008": 1, "000005": 2}
    with pytest.raises(ValueError, match=r"repeat is 0, .* also is empty"):
        KittiConfig(repeat=0)


def test_a_set_without_further_ones_is_itself(config: KittiConfig) -> None:
    alone = config.model_copy(update={"also": {}, "repeat": 1})
    assert open_training(alone).identity() == open_dataset(alone, "train").identity()


def test_the_identity_knows_all_sets_and_not_their_place(config: KittiConfig, tmp_path: Path) -> None:
    before = identify_data(config)["data"]["sha256"]
    (tmp_path / "street").rename(tmp_path / "moved")
    also = config.also["street"].model_copy(update={"root": tmp_path / "moved"})
    moved = config.model_copy(update={"also": {**config.also, "street": also}})
    assert identify_data(moved)["data"]["sha256"] == before
    (tmp_path / "moved/training/label_2/000008.txt").write_text("")
    changed = moved.model_copy(update={"cache_mb": 7})  # digests are kept by settings
    assert identify_data(changed)["data"]["sha256"] != before


def test_what_cannot_be_joined_is_refused(config: KittiConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"class_balanced .* data\.also\.again\.repeat"):
        KittiConfig(class_balanced=True, also={"again": {"split": "val", "repeat": 2}})  # type: ignore[dict-item]
    (tmp_path / "real/training").rename(tmp_path / "real/testing")
    (tmp_path / "street/testing").symlink_to(tmp_path / "real/testing")
    (tmp_path / "street/ImageSets/test.txt").write_text("000005")
    bare = KittiConfig(root=tmp_path / "street", also={"bare": {"split": "test"}})  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"'data\.also\.bare': 1 of 1 frames of .*street have no labels \(000005\)"):
        open_training(bare)


def test_augmentation_may_be_off(config: KittiConfig) -> None:
    plain = config.model_copy(update={"augment": AugmentConfig(enabled=False)})
    points = [
        b.points[b.frame == n] for b in batches(plain).epoch(0) for n, f in enumerate(b.frames) if f.id == "000001"
    ]
    assert all(torch.equal(points[0], other) for other in points[1:])
