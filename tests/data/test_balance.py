from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.data.loading.balance import Balance, occurrences
from mink_pd.data.loading.epochs import make_loader
from mink_pd.errors import DataError

NAMES = [np.array(text.split(), dtype="<U20") for text in ("car car", "car bus", "car", "", "car", "cone car")]


def test_every_class_gets_its_share_and_no_frame_more_than_once_oftener_than_another() -> None:
    balance = Balance(NAMES, ["car", "bus", "cone", "trailer"])  # 5 + 1 + 1 pairs, no trailer: 2 frames a class
    assert len(balance) == 6
    for seed in range(20):
        drawn = balance.draw(np.random.default_rng(seed))
        assert len(drawn) == 6
        cars, buses, cones = drawn[:2], drawn[2:4], drawn[4:]
        assert set(cars) <= {0, 1, 2, 4, 5}
        assert len(set(cars)) == 2
        assert buses.tolist() == [1, 1]
        assert cones.tolist() == [5, 5]


def test_what_is_drawn_changes() -> None:
    balance = Balance(NAMES, ["car", "bus"])
    assert len({tuple(sorted(balance.draw(np.random.default_rng(seed)))) for seed in range(10)}) > 3


def test_no_class_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match=r"data\.class_balanced.*tram"):
        Balance(NAMES, ["tram"])


def test_occurrences_count_from_nought() -> None:
    assert occurrences(np.array([3, 1, 3, 3, 1, 2])).tolist() == [0, 0, 1, 2, 1, 0]


def test_repeated_frames_are_augmented_anew(kitti_root: Path) -> None:
    for id in ("000001", "000002", "000003", "000004", "000005", "000006"):  # a pedestrian in the first frame only
        path = kitti_root / "training" / "label_2" / f"{id}.txt"
        path.write_text("".join(line for line in path.open() if not line.startswith("Pedestrian")))
    config = KittiConfig(root=kitti_root, workers=0, class_balanced=True, range=(-99, -99, -9, 99, 99, 9))
    dataset = open_dataset(config, "train")
    loader = make_loader(dataset, config, batch_size=1, training=True, seed=0)
    assert len(loader) == 8  # 7 frames with cars, 1 with a pedestrian: 4 a class
    frames = [frame for batch in loader.epoch(0) for frame in batch.frames]
    assert Counter(frame.id for frame in frames)["000000"] >= 4
    clouds = {frame.points.tobytes() for frame in frames}
    assert len(clouds) == len(frames)
    again = [frame for batch in loader.epoch(0) for frame in batch.frames]
    assert [frame.points.tobytes() for frame in again] == [frame.points.tobytes() for frame in frames]
