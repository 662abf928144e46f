import os
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import Kitti, KittiConfig
from mink_pd.data.datasets.nuscenes_dataset import NuScenes
from mink_pd.data.frame import Frame
from mink_pd.data.loading import sampling
from mink_pd.data.loading.sampling import Database, build_database, load_database


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def database_of(points: np.ndarray, offsets: np.ndarray, boxes: np.ndarray) -> Database:
    """Cars of unknown velocity."""
    velocities = np.full((len(boxes), 2), np.nan, np.float32)
    return Database(points.astype(np.float32), offsets, boxes, np.array(["Car"] * len(boxes)), velocities)


def crowd(count: int, points: int = 6) -> Database:
    """``count`` cars at random places, a point at each corner of the roof and more at the centre."""
    rng = np.random.default_rng(0)
    boxes = np.zeros((count, 7), np.float32)
    boxes[:, :2] = rng.uniform((5, -15), (35, 15), (count, 2))
    boxes[:, 3:6], boxes[:, 6] = (4, 1.6, 1.5), rng.uniform(-3, 3, count)
    rows = np.repeat(np.column_stack([boxes[:, :3], np.ones(count)])[:, None], points, axis=1)
    offsets = np.arange(count + 1) * points
    return database_of(rows.reshape(-1, 4), offsets, boxes)


def test_the_database_holds_every_object_with_its_points(kitti_root: Path) -> None:
    dataset = Kitti(kitti_root, "train")
    database = build_database(dataset)
    assert len(database.boxes) == 7 * 3
    assert sorted(set(database.names)) == ["Car", "Pedestrian", "Van"]
    for row in (0, 4, 20):
        frame = dataset[row // 3]
        np.testing.assert_array_equal(database.boxes[row], frame.boxes[row % 3])
        c, s = np.cos(database.boxes[row, 6]), np.sin(database.boxes[row, 6])
        local = (frame.points[:, :3] - database.boxes[row, :3]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        inside = (abs(local) <= database.boxes[row, 3:6] / 2).all(axis=1)  # brute force
        ours = database.points[database.offsets[row] : database.offsets[row + 1]]
        np.testing.assert_array_equal(ours, frame.points[inside])


def test_classes_are_filled_up_without_overlap(scene: Frame) -> None:
    scene.names = np.array(["Car", "Pedestrian", "Van"])
    pasted = crowd(300).paste(scene, {"Car": 8, "Pedestrian": 4}, 5, np.random.default_rng(0))
    added = len(pasted.boxes) - len(scene.boxes)
    assert 3 <= added <= 7  # one car is there already; some find no room
    assert (pasted.names[3:] == "Car").all()
    np.testing.assert_array_equal(pasted.boxes[:3], scene.boxes)
    shapes = [Polygon(box) for box in bev_corners(pasted.boxes)]
    assert not any(a.intersection(b).area > 0 for i, a in enumerate(shapes) for b in shapes[:i])


def test_ignored_classes_are_in_the_way_too(scene: Frame) -> None:
    van = scene.boxes[2]
    database = database_of(np.ones((9, 4)), np.array([0, 9]), van[None] + 0.1)
    assert database.paste(scene, {"Car": 9}, 5, np.random.default_rng(0)) is scene


def test_points_where_an_object_is_pasted_give_way() -> None:
    box = np.array([[10, 0, 0, 4, 2, 2, 0.5]], np.float32)
    points = np.array([[10, 0, 0, 0.1], [10, 0, 2, 0.1], [14, 0, 0, 0.1]], np.float32)
    database = database_of(np.full((6, 4), 9), np.array([0, 6]), box)
    pasted = database.paste(Frame("0", points), {"Car": 1}, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(pasted.points, np.concatenate([points[1:], database.points]))


def test_a_full_class_and_thin_objects_are_left_out(scene: Frame) -> None:
    rng = np.random.default_rng(0)
    assert crowd(50).paste(scene, {"Car": 1}, 5, rng) is scene
    assert crowd(50, points=4).paste(scene, {"Car": 9}, 5, rng) is scene
    assert crowd(50).paste(scene, {"Tram": 9}, 5, rng) is scene


def test_every_object_gets_its_turn() -> None:
    database = crowd(12)
    empty = Frame("0", np.zeros((0, 4), np.float32))
    rng = np.random.default_rng(0)
    seen = [database.paste(empty, {"Car": 1}, 5, rng).boxes[0].tolist() for _ in range(300)]
    assert {tuple(box) for box in seen} == {tuple(box) for box in database.boxes.tolist()}


def test_the_second_time_comes_from_the_cache(kitti_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Kitti(kitti_root, "train")
    first = load_database(dataset)
    assert [path.suffix for path in (kitti_root / ".mink_pd").iterdir()] == [".npz"]
    monkeypatch.setattr(sampling, "build_database", None)  # calling it now would fail
    again = load_database(dataset)
    for key, value in vars(first).items():
        np.testing.assert_array_equal(vars(again)[key], value)


def test_other_labels_or_frames_make_another_database(kitti_root: Path) -> None:
    assert len(load_database(Kitti(kitti_root, "train")).boxes) == 21
    assert len(load_database(Kitti(kitti_root, "train", max_frames=2)).boxes) == 6
    path = kitti_root / "training" / "label_2" / "000000.txt"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    assert len(load_database(Kitti(kitti_root, "train")).boxes) == 20


def test_classes_spelt_otherwise_make_another_database(kitti_root: Path) -> None:
    path = kitti_root / "training" / "label_2" / "000000.txt"
    path.write_text(path.read_text().replace("Car ", "Tractor "))
    for spelling in ("Tractor", "tractor"):
        config = KittiConfig(root=kitti_root, classes=["Car", spelling])
        database = load_database(open_dataset(config, "train"), config)
        assert spelling in set(database.names)
    before = set((kitti_root / ".mink_pd").iterdir())
    for change in ({"workers": 3}, {"cache_mb": 5.0}, {"root": kitti_root / "." / "training" / ".."}):
        again = config.model_copy(update=change)
        load_database(open_dataset(config, "train"), again)
    assert set((kitti_root / ".mink_pd").iterdir()) == before  # what has no effect builds nothing anew


def test_a_damaged_cache_is_built_anew(kitti_root: Path) -> None:
    dataset = Kitti(kitti_root, "train")
    load_database(dataset)
    (file,) = (kitti_root / ".mink_pd").iterdir()
    for content in (b"", file.read_bytes()[:-200]):
        file.write_bytes(content)
        assert len(load_database(dataset).boxes) == 21
        assert len(np.load(file)["boxes"]) == 21


def test_a_read_only_data_set_is_left_alone(kitti_root: Path, tmp_path: Path) -> None:
    os.chmod(kitti_root, 0o555)
    try:
        load_database(Kitti(kitti_root, "train"))
    finally:
        os.chmod(kitti_root, 0o755)
    assert not (kitti_root / ".mink_pd").exists()
    assert len(list((tmp_path / "cache" / "mink_pd").iterdir())) == 1


def test_velocities_and_time_lags_come_along(nuscenes_root: Path) -> None:
    dataset = NuScenes(nuscenes_root, "train", version="v1.0-trainval")
    database = build_database(dataset)
    assert database.points.shape[1] == 5
    frame, row = dataset[0], int(np.flatnonzero(database.names == "car")[0])
    found = np.flatnonzero((frame.boxes == database.boxes[row]).all(axis=1))
    np.testing.assert_array_equal(frame.velocities[found[0]], database.velocities[row])
    empty = Frame("0", np.zeros((0, 5), np.float32), velocities=np.zeros((0, 2), np.float32))
    pasted = database.paste(empty, {"car": 2, "pedestrian": 3}, 5, np.random.default_rng(0))
    assert len(pasted.velocities) == len(pasted.boxes) > 1
    rows = [np.flatnonzero((database.boxes == box).all(axis=1))[0] for box in pasted.boxes]
    np.testing.assert_array_equal(pasted.velocities, database.velocities[rows])
    assert pasted.points[:, 4].max() > 0
