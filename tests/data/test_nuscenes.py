"""The nuScenes reader against the devkit's own, and against a real keyframe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes_copy import VERSION, change, copy_tables
from scipy.spatial.transform import Rotation

from mink_pd.boxes.geometry import pairs_in_boxes, wrap_angle
from mink_pd.data import devkit as devkit_module
from mink_pd.data import open_dataset
from mink_pd.data.datasets.nuscenes_dataset import NuScenes, NuScenesConfig, from_map, to_map
from mink_pd.data.devkit import open_tables
from mink_pd.errors import ConfigError, DataError

pytest.importorskip("nuscenes")


def opened(root: Path, split: str = "val", **options: Any) -> NuScenes:
    return NuScenes(root, split, version=VERSION, **options)


# -- against the devkit


@pytest.mark.parametrize("sweeps", [1, 10, 15])
def test_points_are_the_devkits(nuscenes_root: Path, sweeps: int) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud

    tables, dataset = open_tables(nuscenes_root, VERSION), opened(nuscenes_root, sweeps=sweeps)
    assert len(dataset) == 4
    for frame in (dataset[0], dataset[1]):
        sample = tables.get("sample", frame.id)
        cloud, lag = LidarPointCloud.from_file_multisweep(tables, sample, "LIDAR_TOP", "LIDAR_TOP", sweeps)
        np.testing.assert_allclose(frame.points[:, :3], cloud.points[:3].T, atol=1e-4)
        np.testing.assert_allclose(255 * frame.points[:, 3], cloud.points[3], atol=1e-3)
        np.testing.assert_allclose(frame.points[:, 4], lag[0], atol=1e-6)
    turns = [len(np.unique(dataset[index].points[:, 4])) for index in (0, 1)]
    assert turns == [min(sweeps, 10), sweeps]  # ten turns before the second keyframe belong to the first


def test_boxes_names_and_velocities_are_the_devkits(nuscenes_root: Path) -> None:
    from nuscenes.eval.detection.utils import category_to_detection_name

    tables = open_tables(nuscenes_root, VERSION)
    classes = set()
    for frame in opened(nuscenes_root):
        sample = tables.get("sample", frame.id)
        _, boxes, _ = tables.get_sample_data(sample["data"]["LIDAR_TOP"])
        assert frame.names.tolist() == [category_to_detection_name(box.name) for box in boxes]
        classes |= set(frame.names.tolist())
        np.testing.assert_allclose(frame.boxes[:, :3], [box.center for box in boxes], atol=1e-4)
        np.testing.assert_allclose(frame.boxes[:, 3:6], [box.wlh[[1, 0, 2]] for box in boxes], atol=1e-5)
        yaw = np.array([box.orientation.yaw_pitch_roll[0] for box in boxes])
        np.testing.assert_allclose(wrap_angle(frame.boxes[:, 6] - yaw), 0, atol=5e-3)  # the LiDAR leans
        lidar = tables.get("sample_data", sample["data"]["LIDAR_TOP"])
        turn = (
            Rotation.from_quat(np.roll(tables.get(table, lidar[key])["rotation"], -1))
            for table, key in (("ego_pose", "ego_pose_token"), ("calibrated_sensor", "calibrated_sensor_token"))
        )
        ego, mount = turn
        truth = np.array([tables.box_velocity(box.token) for box in boxes])
        np.testing.assert_allclose(frame.velocities, (ego * mount).inv().apply(truth)[:, :2], atol=0.05)
        assert np.nanmax(np.linalg.norm(frame.velocities, axis=1)) > 1
    assert len(classes) == 10


@pytest.mark.parametrize("length", [0.5, 0.999, 3.0])
def test_quaternions_may_have_any_length(nuscenes_root: Path, tmp_path: Path, length: float) -> None:
    def stretch(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["rotation"] = [length * value for value in record["rotation"]]

    root = copy_tables(nuscenes_root, tmp_path / "copy")
    for table in ("sample_annotation", "ego_pose", "calibrated_sensor"):
        change(root, table, stretch)
    for ours, expected in zip(opened(root).keyframes, opened(nuscenes_root).keyframes, strict=True):
        np.testing.assert_allclose(ours.boxes[:, :6], expected.boxes[:, :6], atol=1e-4)
        np.testing.assert_allclose(wrap_angle(ours.boxes[:, 6] - expected.boxes[:, 6]), 0, atol=1e-5)


def test_vectors_survive_the_way_to_the_map_and_back() -> None:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zyx", (200, 8, -6), degrees=True).as_matrix()
    vectors = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_allclose(to_map(pose, from_map(pose, vectors)), vectors, atol=1e-12)
    level = pose.copy()
    level[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    np.testing.assert_allclose(from_map(level, np.array([[0.0, 2.0]])), [[2.0, 0.0]], atol=1e-12)


def test_frame_names_are_of_objects_that_were_seen(nuscenes_root: Path) -> None:
    dataset = opened(nuscenes_root)
    for names, keyframe in zip(dataset.frame_names(), dataset.keyframes, strict=True):
        assert names.tolist() == [name for name, seen in zip(keyframe.names, keyframe.seen, strict=True) if seen]


def test_configuration_opens_it_and_cuts_the_training_split_only(nuscenes_root: Path) -> None:
    config = NuScenesConfig(root=nuscenes_root, classes=["car", "bus"], max_frames=1, sweeps=1)
    assert len(open_dataset(config, "train")) == 1
    assert len(open_dataset(config, "val")) == 4
    assert np.unique(open_dataset(config, "val")[0].points[:, 4]).tolist() == [0]


def test_classes_of_another_data_set_are_refused(nuscenes_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no class 'Car'; use car, truck"):
        open_dataset(NuScenesConfig(root=nuscenes_root, classes=["Car"]), "val")


def test_own_splits_of_the_version_folder(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    name = json.loads((root / VERSION / "scene.json").read_text())[2]["name"]
    (root / VERSION / "splits.json").write_text(json.dumps({"mine": [name]}))
    assert opened(root, "mine").ids == opened(root).ids[2:]


def test_fingerprint_follows_tables_frames_and_sweeps(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    first = opened(root).fingerprint()
    assert opened(root).fingerprint() == first
    assert opened(root, sweeps=2).fingerprint() != first
    assert opened(root, max_frames=1).fingerprint() != first
    change(root, "sample_annotation", lambda records: records[0].update(num_lidar_pts=1234567))
    assert opened(root).fingerprint() != first


# -- a real keyframe


@pytest.fixture
def real(shared: Callable[[str], Path], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A version folder of two samples around the real keyframe: the second is it, the first half a second earlier."""
    folder = shared("nuscenes_real")
    answer = json.loads((folder / "annotations.json").read_text())
    root = tmp_path / "real"
    (root / "samples" / "LIDAR_TOP").mkdir(parents=True)
    (root / "samples" / "LIDAR_TOP" / "now.pcd.bin").symlink_to(folder / "LIDAR_TOP.pcd.bin")
    np.zeros((0, 5), np.float32).tofile(root / "samples" / "LIDAR_TOP" / "before.pcd.bin")
    write_real_tables(root, answer)
    return root, answer


def pose_record(token: str, matrix: np.ndarray) -> dict[str, Any]:
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return {"token": token, "translation": matrix[:3, 3].tolist(), "rotation": [w, x, y, z], "timestamp": 0}


def write_real_tables(root: Path, answer: dict[str, Any]) -> None:
    categories = {"other": "animal", "car": "vehicle.car", "truck": "vehicle.truck", "bus": "vehicle.bus.rigid"}
    categories |= {"pedestrian": "human.pedestrian.adult", "barrier": "movable_object.barrier"}
    categories |= {"bicycle": "vehicle.bicycle", "traffic_cone": "movable_object.trafficcone"}
    categories |= {"construction_vehicle": "vehicle.construction"}
    mount, ego = np.array(answer["lidar2ego"]), np.array(answer["ego2global"])
    pose, now = ego @ mount, round(answer["timestamp"] * 1e6)
    instances, annotations = [], []
    for row, found in enumerate(answer["instances"]):
        box = np.array(found["box"])
        ahead = pose[:3, :3] @ [np.cos(box[6]), np.sin(box[6]), 0]
        yaw = np.arctan2(ahead[1], ahead[0])
        centre = pose[:3, :3] @ box[:3] + pose[:3, 3]
        moved = pose[:3, :3] @ [*np.nan_to_num(found["velocity"]), 0]
        instances.append({"token": f"i{row}", "category_token": found["name"], "nbr_annotations": 2})
        for when, place in (("before", centre - 0.5 * moved), ("now", centre)):
            annotations.append(
                {
                    "token": f"a{row}{when}",
                    "sample_token": when,
                    "instance_token": f"i{row}",
                    "visibility_token": "4",
                    "attribute_tokens": [],
                    "translation": place.tolist(),
                    "size": box[[4, 3, 5]].tolist(),
                    "rotation": [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)],
                    "prev": f"a{row}before" if when == "now" else "",
                    "next": f"a{row}now" if when == "before" else "",
                    "num_lidar_pts": found["num_lidar_pts"],
                    "num_radar_pts": 0,
                }
            )
    common = {"scene_token": "s", "ego_pose_token": "e", "calibrated_sensor_token": "c", "is_key_frame": True}
    samples = [("before", now - 500_000, "", "now"), ("now", now, "before", "")]
    tables: dict[str, list[dict[str, Any]]] = {
        "category": [{"token": name, "name": category} for name, category in categories.items()],
        "attribute": [],
        "visibility": [{"token": "4"}],
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [pose_record("c", mount) | {"sensor_token": "lidar"}],
        "ego_pose": [pose_record("e", ego)],
        "log": [{"token": "l"}],
        "map": [{"token": "m", "filename": "map.png", "log_tokens": ["l"]}],
        "scene": [{"token": "s", "name": "scene-0103", "log_token": "l"}],
        "sample": [
            {"token": token, "timestamp": time, "prev": before, "next": after, "scene_token": "s"}
            for token, time, before, after in samples
        ],
        "sample_data": [
            common | {"token": f"d{token}", "sample_token": token, "timestamp": time, "prev": before and f"d{before}"}
            | {"next": after and f"d{after}", "filename": f"samples/LIDAR_TOP/{token}.pcd.bin"}
            for token, time, before, after in samples
        ],
        "instance": instances,
        "sample_annotation": annotations,
    }  # fmt: skip
    (root / VERSION).mkdir()
    (root / "map.png").touch()
    for table, records in tables.items():
        (root / VERSION / f"{table}.json").write_text(json.dumps(records))


def test_a_real_keyframe_is_read_as_its_labels_say(real: tuple[Path, dict[str, Any]]) -> None:
    root, answer = real
    frame = opened(root)[1]
    expected = [found for found in answer["instances"] if found["name"] != "other"]
    assert frame.names.tolist() == [found["name"] for found in expected]
    boxes = np.array([found["box"] for found in expected])
    np.testing.assert_allclose(frame.boxes[:, :6], boxes[:, :6], atol=1e-3)
    np.testing.assert_allclose(wrap_angle(frame.boxes[:, 6] - boxes[:, 6]), 0, atol=2e-3)
    velocities = np.array([np.nan_to_num(found["velocity"]) for found in expected])
    np.testing.assert_allclose(frame.velocities, velocities, atol=0.01)
    assert np.linalg.norm(velocities, axis=1).max() > 3


def test_a_real_keyframes_points_lie_in_its_boxes(real: tuple[Path, dict[str, Any]]) -> None:
    dataset = opened(real[0])
    frame, seen = dataset[1], dataset.keyframes[1].seen
    counts = np.bincount(pairs_in_boxes(frame.points, frame.boxes)[0], minlength=len(seen))
    assert (np.abs(counts - seen) <= np.maximum(2, 0.1 * seen)).all()  # a barrier has 45 of 50: boxes lean
    assert counts.sum() == pytest.approx(seen.sum(), rel=0.03)
    assert counts.sum() > 500
    raw = np.fromfile(real[0] / "samples/LIDAR_TOP/now.pcd.bin", "<f4").reshape(-1, 5)
    close = (np.abs(raw[:, :2]) < 1).all(axis=1)
    assert close.sum() > 5000  # the car's own roof
    np.testing.assert_allclose(frame.points[:, :3], raw[~close, :3], atol=1e-5)
    np.testing.assert_allclose(frame.points[:, 3], raw[~close, 3] / 255, atol=1e-6)


# -- bad input: one line that names it


def fails(root: Path, *words: str, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        opened(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_a_missing_table(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    (root / VERSION / "ego_pose.json").unlink()
    fails(root, "ego_pose.json: missing")


def test_a_table_that_is_no_json(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    path = root / VERSION / "sample.json"
    path.write_text(path.read_text()[:-20])
    fails(root, "sample.json: not a list of records")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("sample_annotation", "instance_token"),  # the devkit meets this one itself
        ("sample_data", "ego_pose_token"),  # and these only we do
        ("sample_data", "prev"),
        ("sample_annotation", "next"),
    ],
)
def test_a_token_that_does_not_resolve(nuscenes_root: Path, tmp_path: Path, table: str, column: str) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    change(root, table, lambda records: [record.update({column: "feed"}) for record in records[-12:]])
    fails(root, f"{table}.json", column, "feed")


def test_sweeps_out_of_order(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    change(root, "sample_data", lambda records: records[-5].update(timestamp=records[-1]["timestamp"] + 1))
    fails(root, "sample_data.json: timestamps are out of order", "sweeps/LIDAR_TOP/")


def test_samples_out_of_order(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    change(root, "sample", lambda records: records[-1].update(timestamp=records[-2]["timestamp"]))
    fails(root, "sample.json: timestamps are out of order")


def spoilt(key: str, values: list[float]) -> Callable[[list[dict[str, Any]]], object]:
    """An edit of all records of a table, as those of one scene alone may be read."""
    return lambda records: [record.update({key: values}) for record in records]


@pytest.mark.parametrize(
    ("table", "key", "values"),
    [
        ("sample_annotation", "rotation", [0, 0, 0, 0]),
        ("sample_annotation", "rotation", [1, 0, 0, float("nan")]),
        ("sample_annotation", "translation", [1, float("inf"), 0]),
        ("sample_annotation", "size", [2, -4, 1.5]),
        ("sample_annotation", "size", [2, 4, 0]),
        ("ego_pose", "rotation", [0, 0, 0, 1e-9]),
        ("ego_pose", "translation", [float("nan"), 0, 0]),
        ("calibrated_sensor", "rotation", [0, 0, 0, 0]),
    ],
)
def test_an_impossible_pose_or_box(
    nuscenes_root: Path, tmp_path: Path, table: str, key: str, values: list[float]
) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    change(root, table, spoilt(key, values))
    fails(root, f"{table}.json: '{key}' of record ", f" is {values}, which is impossible; copy the table again")


def test_a_sweep_that_is_gone_or_damaged(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    (root / "sweeps").unlink()
    (root / "sweeps" / "LIDAR_TOP").mkdir(parents=True)
    for path in (nuscenes_root / "sweeps" / "LIDAR_TOP").iterdir():
        (root / "sweeps" / "LIDAR_TOP" / path.name).symlink_to(path)
    dataset = opened(root)
    file = dataset.keyframes[1].sweeps[3].file
    file.unlink()
    fails(root, f"{file}: missing, the first of 1 out of 40")
    with pytest.raises(DataError, match=rf"{file.name}: cannot be read"):
        dataset[1]  # gone since it was opened
    file.write_bytes(b"123")
    with pytest.raises(DataError, match=rf"{file.name}: truncated, 3 bytes"):
        opened(root)[1]
    np.full((1, 5), np.nan, np.float32).tofile(file)
    with pytest.raises(DataError, match=rf"{file.name}: none of its 1 points is valid"):
        opened(root)[1]


def test_unknown_versions_and_splits(nuscenes_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v1\.0-mini: no such folder.*has v1\.0-trainval"):
        NuScenes(nuscenes_root, "val", version="v1.0-mini")
    with pytest.raises(DataError, match=r"no such folder.*has no version"):
        NuScenes(tmp_path / "nothing", "val", version=VERSION)
    fails(nuscenes_root, "no split 'mini_val' of this version; use train or val", split="mini_val")
    fails(nuscenes_root, "no split 'mine'", "splits.json", split="mine")
    fails(nuscenes_root, "has no scene of split 'train_track'", split="train_track")


def test_without_the_devkit_it_says_what_to_install(nuscenes_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(devkit_module, "import_module", missing)
    fails(nuscenes_root, "pip install -e .[nuscenes]", "make setup")


def test_a_scene_is_a_split_of_its_own_in_the_order_of_time(nuscenes_root: Path) -> None:
    tables, whole = open_tables(nuscenes_root, VERSION), opened(nuscenes_root)
    found = []
    for scene in tables.scene:
        one = NuScenes(nuscenes_root, scene["name"], version=VERSION)
        expected = [sample for sample in tables.sample if sample["scene_token"] == scene["token"]]
        assert one.ids == [sample["token"] for sample in expected]
        lidar = [tables.get("sample_data", sample["data"]["LIDAR_TOP"]) for sample in expected]
        assert one.stamps == [record["timestamp"] * 1000 for record in lidar]
        assert (np.diff(one.stamps) > 0).all()
        found += one.ids
    assert set(whole.ids) < set(found)


def test_samples_in_any_order_are_sorted_by_time(nuscenes_root: Path, tmp_path: Path) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    scene = json.loads((root / VERSION / "scene.json").read_text())[0]["name"]
    expected = opened(nuscenes_root, scene)
    change(root, "sample", list.reverse)
    reversed_ = opened(root, scene)
    assert reversed_.ids == expected.ids
    assert (np.diff(reversed_.stamps) > 0).all()
    scenes = [opened(root, record["name"]).ids for record in json.loads((root / VERSION / "scene.json").read_text())]
    whole = opened(root).ids
    assert [[id for id in whole if id in ids] for ids in scenes] == [ids if ids[0] in whole else [] for ids in scenes]
