"""The simulated nuScenes, judged by the devkit and by geometry worked out here."""

import unittest
from pathlib import Path

import numpy as np
import pytest
from nuscenes_copy import VERSION
from scipy.spatial import cKDTree
from shapely.geometry import Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.data.datasets.nuscenes_dataset import NuScenes
from mink_pd.data.devkit import open_tables, split_scenes
from mink_pd.errors import DataError
from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.nuscenes import Settings, simulate
from mink_pd.simulator.nuscenes.bodies import BODIES
from mink_pd.simulator.nuscenes.drive import _STREAM, ORIGIN, SWEEPS, write_scene
from mink_pd.simulator.nuscenes.lidar import PERIOD, directions, ego_from_lidar
from mink_pd.simulator.nuscenes.town import Actor, random_town

pytest.importorskip("nuscenes")


@pytest.fixture(scope="module")
def dataset(nuscenes_root: Path) -> NuScenes:
    return NuScenes(nuscenes_root, "val", version=VERSION)


def test_the_devkits_own_check_finds_it_complete(nuscenes_root: Path) -> None:
    from nuscenes.tests.assert_download import verify_setup

    tables = open_tables(nuscenes_root, VERSION)
    verify_setup(tables)
    assert len(tables.sample_data) == 3 * 2 * SWEEPS
    assert {scene["name"] for scene in tables.scene} == {*split_scenes("train")[:1], *split_scenes("val")[:2]}
    for scene in tables.scene:
        assert tables.get("sample", scene["first_sample_token"])["next"] == scene["last_sample_token"]
        assert tables.get("log", scene["log_token"])["map_token"] == tables.map[0]["token"]


def test_links_between_records_lead_there_and_back(nuscenes_root: Path) -> None:
    tables = open_tables(nuscenes_root, VERSION)
    for table in ("sample", "sample_data", "sample_annotation"):
        for record in getattr(tables, table):
            if record["next"]:
                assert tables.get(table, record["next"])["prev"] == record["token"]
    for instance in tables.instance:
        chain = [tables.get("sample_annotation", instance["first_annotation_token"])]
        while chain[-1]["next"]:
            chain.append(tables.get("sample_annotation", chain[-1]["next"]))
        assert len(chain) == instance["nbr_annotations"]
        assert chain[-1]["token"] == instance["last_annotation_token"]


def test_the_devkits_own_test_loads_the_mini_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nuscenes.tests.test_nuscenes import TestNuScenes

    simulate(tmp_path / "mini", Settings(train=1, val=0, keyframes=1, schema="v1.0-mini"))
    monkeypatch.setenv("NUSCENES", str(tmp_path / "mini"))
    result = unittest.defaultTestLoader.loadTestsFromTestCase(TestNuScenes).run(unittest.TestResult())
    assert result is not None
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.errors


def test_a_scene_depends_on_seed_and_number_alone(nuscenes_root: Path, tmp_path: Path) -> None:
    for folder in ("samples", "sweeps"):
        (tmp_path / folder / "LIDAR_TOP").mkdir(parents=True)
    records = write_scene(tmp_path, 6, 2, 1, "scene-0003")
    files = [record["filename"] for record in records.tables["sample_data"]]
    assert len(files) == 2 * SWEEPS
    for file in files:
        assert (tmp_path / file).read_bytes() == (nuscenes_root / file).read_bytes()
    known = {record["token"] for record in open_tables(nuscenes_root, VERSION).sample_annotation}
    assert {record["token"] for record in records.tables["sample_annotation"]} <= known


def test_counts_are_the_points_that_the_devkit_finds_in_its_boxes(nuscenes_root: Path) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    tables = open_tables(nuscenes_root, VERSION)
    sample = tables.sample[-1]
    path, boxes, _ = tables.get_sample_data(sample["data"]["LIDAR_TOP"])
    points = LidarPointCloud.from_file(path).points[:3]
    written = [tables.get("sample_annotation", token)["num_lidar_pts"] for token in sample["anns"]]
    found = [int(points_in_box(box, points).sum()) for box in boxes]
    np.testing.assert_allclose(written, found, atol=1)  # a point on a face
    assert sum(written) > 300


def test_velocities_are_those_of_the_actors(nuscenes_root: Path) -> None:
    tables = open_tables(nuscenes_root, VERSION)
    town = random_town(frame_rng(6, 2, stream=_STREAM), 2 * SWEEPS * PERIOD)
    actors = [thing for thing in town.scene.things if isinstance(thing, Actor)]
    times = (9 * PERIOD, 19 * PERIOD)
    place = np.array([[actor.at(time)[:2] for time in times] for actor in actors]) + ORIGIN[:2]  # (A, 2, 2)
    checked = 0
    for token in tables.sample[-2]["anns"]:
        record = tables.get("sample_annotation", token)
        if not record["next"]:
            continue
        row = int(np.linalg.norm(place[:, 0] - record["translation"][:2], axis=1).argmin())
        if np.linalg.norm(place[row, 0] - record["translation"][:2]) > 0.01:
            continue  # it had to be stopped
        speed = np.linalg.norm(tables.box_velocity(token)[:2])
        if speed:
            assert speed == pytest.approx(actors[row].speed, rel=0.01)
            checked += 1
            names = [tables.get("attribute", key)["name"] for key in record["attribute_tokens"]]
            assert names == [actors[row].body.moving]
    assert checked > 3


def test_resting_things_stay_where_they_are_in_joined_sweeps(dataset: NuScenes) -> None:
    frame = dataset[1]
    lag = frame.points[:, 4]
    newest, oldest = (frame.points[lag == value, :3] for value in (lag.min(), lag.max()))
    near = oldest[np.linalg.norm(oldest, axis=1) < 15]
    off = cKDTree(newest).query(near)[0]
    assert np.median(off) < 0.15
    moved = np.linalg.norm(dataset.keyframes[1].sweeps[-1].to_keyframe[:3, 3])
    assert moved > 0.8  # the car drove
    wrong = cKDTree(newest + np.array([0, moved, 0])).query(near)[0]
    assert np.median(wrong) > 1.3 * np.median(off)


def test_the_car_drives_along_y_of_its_lidar(dataset: NuScenes) -> None:
    x, y, z = dataset.keyframes[1].sweeps[-1].to_keyframe[:3, 3]  # where the LiDAR was, seen from where it is
    assert y < -0.8
    assert abs(x) + abs(z) < 0.1 * abs(y)
    matrix = ego_from_lidar()
    np.testing.assert_allclose(matrix[:3, :3] @ [0, 1, 0], [1, 0, 0], atol=0.03)
    assert matrix[2, 3] == pytest.approx(1.84)


def test_beams_are_those_of_the_real_sensor() -> None:
    rays, ring = directions(0.3)
    assert sorted(set(ring.tolist())) == list(range(7, 32))
    elevation = np.degrees(np.arcsin(rays[:, 2]))
    for number, expected in ((7, -21.33), (23, 0.0), (31, 10.66)):  # as measured in a real keyframe
        np.testing.assert_allclose(elevation[ring == number], expected, atol=0.05)
    azimuth = np.unwrap(np.arctan2(rays[ring == 20, 1], rays[ring == 20, 0]).astype(np.float64))
    np.testing.assert_allclose(np.degrees(np.diff(azimuth)), -360 / 1084, atol=1e-3)  # clockwise


def test_points_are_in_the_ranges_of_real_files(nuscenes_root: Path) -> None:
    (first, *_) = sorted((nuscenes_root / "samples" / "LIDAR_TOP").iterdir())
    points = np.fromfile(first, "<f4").reshape(-1, 5)
    assert 10_000 < len(points) < 27_100
    assert (points[:, 3:] == points[:, 3:].round()).all()
    assert 0 <= points[:, 3].min() < points[:, 3].max() <= 255
    assert np.percentile(points[:, 2], 10) == pytest.approx(-1.84, abs=0.5)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_lies_within_its_label(name: str) -> None:
    for seed in range(3):
        size, mesh = BODIES[name].draw(np.random.default_rng(seed))
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        np.testing.assert_array_less(high - low, size)
        np.testing.assert_allclose(low[2], 0, atol=1e-9)
        np.testing.assert_allclose(low[:2] + high[:2], 0, atol=1e-9)
        assert ((high - low) > 0.75 * np.array(size)).all()


def test_nothing_stands_or_drives_into_anything(dataset: NuScenes) -> None:
    for keyframe in dataset.keyframes:
        shapes = [Polygon(corner).buffer(-0.05) for corner in bev_corners(keyframe.boxes)]
        assert len(shapes) > 10
        assert not any(a.intersects(b) for i, a in enumerate(shapes) for b in shapes[:i])


def test_the_same_call_does_nothing_and_too_many_scenes_are_refused(nuscenes_root: Path, tmp_path: Path) -> None:
    assert simulate(nuscenes_root, Settings(train=1, val=2, keyframes=2, seed=6)) is None
    with pytest.raises(DataError, match=r"keyframes 2, not 3.*--force"):
        simulate(nuscenes_root, Settings(train=1, val=2, keyframes=3, seed=6))
    with pytest.raises(DataError, match=r"mini_val of v1\.0-mini: has 2 scenes, not 3"):
        simulate(tmp_path / "out", Settings(val=3, train=1, schema="v1.0-mini"))
    assert list(tmp_path.iterdir()) == []
