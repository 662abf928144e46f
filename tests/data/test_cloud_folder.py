"""data.kind: clouds: what is read, what is refused, and that training and detection work on it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cloud_folders import from_kitti, from_nuscenes, nuscenes_boxes, write_folder, write_labels
from scipy.spatial.transform import Rotation

from mink_pd.boxes.geometry import points_in_boxes
from mink_pd.config import Config, load_config
from mink_pd.data import Dataset, open_dataset
from mink_pd.data.clouds.cloud_description import read_description
from mink_pd.data.clouds.cloud_labels import read_labels
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.loading.epochs import make_loader
from mink_pd.errors import ConfigError, DataError

CLASSES: dict[str, list[str]] = {"Car": ["vehicle.car", "auto"], "Person": []}
SAID = {"intensity": 1, "axes": "x_forward", "classes": CLASSES, "ignore": ["tree"]}
ANCHOR = {"size": [3.9, 1.6, 1.5], "z": -1, "matched": 0.6, "unmatched": 0.45}
BOX = (12.0, 1.0, -1.0, 3.9, 1.6, 1.5, 0.4)
SAME = np.eye(4)
NAMES = {"car": "Car", "auto": "Car", "person": "Person", "tree": None}


def frame(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """300 points, 100 of them in a car, and its box."""
    rng = np.random.default_rng(seed)
    around = rng.uniform([0, -20, -2, 0], [50, 20, 1, 1], (200, 4))
    inside = np.column_stack([rng.uniform([11.5, 0.5, -1.5], [12.5, 1.5, -0.5], (100, 3)), rng.uniform(0, 1, 100)])
    return np.concatenate([around, inside]).astype(np.float32), np.array([BOX]), ["Car"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "own", {f"{n:03d}": frame(n) for n in range(40)}, **SAID)


def config(root: Path, **settings: Any) -> Config:
    data = {"kind": "clouds", "root": str(root), "range": [0, -25.6, -3, 51.2, 25.6, 1], "workers": 0}
    return Config.model_validate({"data": data | settings, "model": {"anchors": dict.fromkeys(CLASSES, ANCHOR)}})


def opened(root: Path, split: str, **settings: Any) -> Dataset:
    return open_dataset(config(root, **settings).data, split)


def fails(root: Path, message: str, split: str = "train") -> None:
    with pytest.raises((DataError, ConfigError)) as error:
        opened(root, split)
    assert "\n" not in str(error.value)
    assert message in str(error.value)


def test_frames_have_points_boxes_and_classes(root: Path) -> None:
    data = opened(root, "labelled")
    assert len(data) == 40
    one = data[3]
    points, boxes, names = frame(3)
    np.testing.assert_array_equal(one.points, points)
    np.testing.assert_allclose(one.boxes, boxes, atol=1e-6)
    assert one.names.tolist() == names
    assert one.calibration is None
    assert data.scorer == "clouds"
    assert data.view.all_around
    assert data.frame_names()[3].tolist() == ["Car"]


def test_unlabelled_and_empty_are_told_apart(root: Path) -> None:
    (root / "labels" / "001.txt").unlink()
    (root / "labels" / "002.txt").write_text("\n")
    data = opened(root, "all")
    assert not data[1].labelled
    assert data[2].labelled
    assert len(data[1].boxes) == len(data[2].boxes) == 0
    assert opened(root, "unlabelled").ids == ["001"]
    assert "001" not in opened(root, "labelled").ids
    drawn = [opened(root, split).ids for split in ("train", "val")]
    assert sorted(drawn[0] + drawn[1]) == opened(root, "labelled").ids
    (root / "splits").mkdir()
    (root / "splits" / "train.txt").write_text("001\n")
    fails(root, "frame 001 has no file in")


def test_drawn_splits_are_stated_and_the_same_every_time(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        first, again = opened(root, "val").ids, opened(root, "val").ids
    assert "no list, so 8 of 40 labelled frames are drawn (data.val_share 0.2, data.split_seed 0" in caplog.text
    assert first == again
    assert opened(root, "val", split_seed=1).ids != first
    numbers = np.array(sorted(map(int, first)))
    assert (np.diff(numbers) == 1).sum() >= 4  # blocks of neighbours


def test_swapped_sizes_are_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(root, "train")
    assert "wider than long" not in caplog.text
    swapped = np.array([BOX])[:, [0, 1, 2, 4, 3, 5, 6]]
    for path in (root / "labels").iterdir():
        write_labels(path, swapped, ["Car"])
    with caplog.at_level(logging.WARNING):
        opened(root, "train")
    assert "most labels of Car are wider than long (median length 1.60 m, width 3.90 m)" in caplog.text


def test_lists_are_taken_in_their_order(root: Path) -> None:
    (root / "splits").mkdir()
    (root / "splits" / "train.txt").write_bytes("007\r\n003\r\n".encode("utf-16"))
    assert opened(root, "train").ids == ["007", "003"]
    fails(root, "val.txt: missing, while the other list is there", "val")
    (root / "splits" / "train.txt").write_text("007\n003\n007\n")
    fails(root, "frame 007 is listed twice")
    (root / "splits" / "train.txt").write_text("077\n")
    fails(root, "frame 077 has no cloud")
    fails(root, "no such list", "test")


def test_what_dataset_yaml_says_becomes_the_configuration(root: Path) -> None:
    settings = config(root)
    assert settings.data.intensity == 1
    assert settings.data.classes == ["Car", "Person"]
    (root / "dataset.yaml").write_text(yaml.safe_dump(SAID | {"intensity": 255}))
    with pytest.raises(ConfigError, match=r"'data\.intensity': is 1\.0 here and 255\.0 in"):
        open_dataset(settings.data, "train")
    with pytest.raises(ConfigError, match=r"'data\.classes': .* has no class 'Truck'; use Car, Person"):
        open_dataset(settings.data.model_copy(update={"classes": ["Truck"], "intensity": 255.0}), "train")
    (root / "dataset.yaml").unlink()  # a trained detector does not need it
    assert Config.model_validate(settings.model_dump()).data.classes == ["Car", "Person"]


def test_a_yaml_configuration_of_clouds(root: Path, tmp_path: Path) -> None:
    anchor = "{size: [3.9, 1.6, 1.5], z: -1, matched: 0.6, unmatched: 0.45}"
    text = f"data: {{kind: clouds, root: {root}}}\nmodel: {{anchors: {{Car: {anchor}, Person: {anchor}}}}}\n"
    (tmp_path / "a.yaml").write_text(text)
    assert load_config(tmp_path / "a.yaml").data.classes == ["Car", "Person"]


def test_axes(tmp_path: Path) -> None:
    """The same surroundings in three frames give the same points and boxes."""
    points, boxes, names = frame()
    straight = opened(write_folder(tmp_path / "a", {"0": (points, boxes, names)}, **SAID), "all")[0]
    right, turned = points.copy(), boxes.copy()
    right[:, :2] = np.stack([-points[:, 1], points[:, 0]], axis=1)
    turned[:, :2], turned[:, 6] = np.stack([-boxes[:, 1], boxes[:, 0]], axis=1), boxes[:, 6] + np.pi / 2
    said = SAID | {"axes": "y_forward"}
    other = opened(write_folder(tmp_path / "b", {"0": (right, turned, names)}, **said), "all")[0]
    np.testing.assert_allclose(other.points, straight.points, atol=1e-5)
    np.testing.assert_allclose(other.boxes, straight.boxes, atol=1e-5)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 0.3).as_matrix() / 1000
    matrix[:3, 3] = [1, 2, 3]
    back = np.linalg.inv(matrix)
    moved, small = points.copy(), boxes.copy()
    moved[:, :3] = points[:, :3] @ back[:3, :3].T + back[:3, 3]
    small[:, :3] = boxes[:, :3] @ back[:3, :3].T + back[:3, 3]
    small[:, 3:6], small[:, 6] = boxes[:, 3:6] * 1000, boxes[:, 6] - 0.3
    said = SAID | {"axes": matrix.tolist()}
    third = opened(write_folder(tmp_path / "c", {"0": (moved, small, names)}, **said), "all")[0]
    np.testing.assert_allclose(third.points, straight.points, atol=1e-3)
    np.testing.assert_allclose(third.boxes, straight.boxes, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensity": None}, "lacks 'intensity'; write the sensor's full scale"),
        ({"axes": None}, "lacks 'axes'; write x_forward"),
        ({"classes": None}, "lacks 'classes'"),
        ({"classes": [{"Car": ["auto"]}]}, "'classes': must be names, such as"),
        ({"classes": ["Car", True]}, "; True is none (quote"),
        ({"classes": {"Car": [1.5]}}, "; 1.5 is none (quote"),
        ({"dtype": 4}, "'dtype': '4' is not a type of numbers"),
        ({"intensitty": 1}, "unknown key 'intensitty'; did you mean 'intensity'?"),
        ({"intensity": None, "intensty": 1}, "unknown key 'intensty'; did you mean 'intensity'?"),
        ({"axes": "forward"}, "'axes"),
        ({"axes": [[1, 0, 0, 0]] * 4}, "must be x_forward, y_forward or a 4x4 matrix"),
        ({"axes": np.diag([1, 1, -1, 1]).tolist()}, "must be x_forward, y_forward or a 4x4 matrix"),
        ({"classes": {"Car": ["auto"], "Van": ["AUTO"]}}, "'auto' stands for two things"),
        ({"columns": ["x", "y", "i"]}, "lacks z"),
        ({"dtype": "float33"}, "'float33' is not a type of numbers"),
        ({"own_vehicle": [1, 1, 1, 0, 2, 2]}, "each lower bound below its upper one"),
        ({"sensor_height": float("nan")}, "sensor_height"),
    ],
)
def test_a_faulty_dataset_yaml_is_one_line(root: Path, change: dict[str, Any], message: str) -> None:
    said = {key: value for key, value in (SAID | change).items() if value is not None}
    (root / "dataset.yaml").write_text(yaml.safe_dump(said))
    with pytest.raises(DataError) as error:
        read_description(root)
    assert str(error.value).startswith(f"{root / 'dataset.yaml'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_of_points_are_named_where_they_stand(root: Path) -> None:
    (root / "dataset.yaml").write_text(yaml.safe_dump(SAID | {"columns": ["x", "y", "z", "intensity", "ring"]}))
    with pytest.raises(DataError) as error:
        opened(root, "labelled")[0]
    assert "set data.columns=[x,y,z,intensity]" in str(error.value)
    assert str(error.value).endswith(
        f"a folder of clouds has such settings in {root / 'dataset.yaml'}, without 'data.'"
    )
    assert "\n" not in str(error.value)


def test_a_folder_without_labels_says_so(root: Path) -> None:
    fails(root, "every cloud has a label file", "unlabelled")
    for path in (root / "labels").iterdir():
        path.unlink()
    fails(root, "no cloud has a label file", "labelled")


def test_without_dataset_yaml_it_says_what_it_saw(root: Path) -> None:
    (root / "dataset.yaml").unlink()
    for path in (root / "points").iterdir():
        points = np.fromfile(path, "<f4").reshape(-1, 4)
        np.column_stack([points, np.arange(len(points)) % 32]).astype("<f4").tofile(path)
    fails(root, "dataset.yaml: missing; 000.bin looks like 5 float32 columns; set data.columns=[x,y,z,intensity,ring]")
    fails(root, "classes: [Car]")


def test_two_files_of_one_name_and_strays(root: Path) -> None:
    (root / "labels" / "_classes.json").write_text('{"classes": []}')  # labelCloud's, which is no label
    (root / "labels" / "001.txt").rename(root / "labels" / "001.TXT")
    assert opened(root, "labelled")[1].names.tolist() == ["Car"]
    np.save(root / "points" / "000.npy", frame()[0])
    fails(root, "000.npy: has the same name as 000.bin")
    (root / "points" / "000.npy").unlink()
    (root / "labels" / "900.txt").touch()
    fails(root, "900.txt: there is no cloud points/900.*")


# Labels


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3 4 2 1.5 0.1", "7 values instead of 8 (x y z l w h yaw class)"),
        ("1 2 3 4 2 1.5 0.1 Car 0.9", "9 values instead of 8"),
        ("1 2 3 4 2 1,5 0.1 Car", "'1,5' is not a number"),
        ("1 2 nan 4 2 1.5 0.1 Car", "a number is NaN"),
        ("1 2 3 4 0 1.5 0.1 Car", "length, width and height are 4, 0, 1.5; they must be above 0"),
        ("1 2 3 4 2 1.5 90 Car", "yaw is 90, beyond 2 pi; set yaw: degrees"),
        ("1 2 3 4 2 1.5 0.1 Kar", "unknown class 'Kar'; add it to classes or ignore of dataset.yaml"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"1 2 3 4 2 1.5 0.1 car\n\n{line}\n")
    with pytest.raises(DataError) as error:
        read_labels(path, NAMES, "radians", SAME)
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_names_by_alias_and_those_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    rows = [(90, "AUTO"), (0, "tree"), (-90, "Person")]
    path.write_text("".join(f"1 2 3 4 2 1.5 {yaw} {name}\n" for yaw, name in rows))
    labels = read_labels(path, NAMES, "degrees", SAME)
    assert labels.names.tolist() == ["Car", "Person"]
    np.testing.assert_allclose(labels.boxes[:, 6], [np.pi / 2, -np.pi / 2], rtol=1e-6)


def three(keys: str, values: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(keys.split(), values, strict=True))


CENTRE, SIZE, TURN = BOX[:3], BOX[3:6], (0.0, 0.0, BOX[6])
TOOLS: dict[str, Any] = {
    "SUSTechPOINTS": [
        {
            "obj_id": "1",
            "obj_type": "Auto",
            "psr": {
                "position": three("x y z", CENTRE),
                "rotation": three("x y z", TURN),
                "scale": three("x y z", SIZE),
            },
        }
    ],
    "labelCloud": {
        "folder": "pointclouds",
        "filename": "0.pcd",
        "objects": [
            {
                "name": "Car",
                "centroid": three("x y z", CENTRE),
                "dimensions": three("length width height", SIZE),
                "rotations": three("x y z", TURN),
            }
        ],
    },
    "Supervisely": {
        "objects": [{"key": "k1", "classTitle": "auto", "tags": []}],
        "figures": [
            {
                "objectKey": "k1",
                "geometryType": "cuboid_3d",
                "geometry": {
                    "position": three("x y z", CENTRE),
                    "rotation": three("x y z", TURN),
                    "dimensions": three("x y z", SIZE),
                },
            }
        ],
    },
}
TOOLS["SUSTechPOINTS with frames"] = {"frame": "0", "objs": TOOLS["SUSTechPOINTS"]}


@pytest.mark.parametrize("tool", TOOLS)
def test_labelling_tools(tmp_path: Path, tool: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TOOLS[tool]))
    labels = read_labels(path, NAMES, "radians", SAME)
    np.testing.assert_allclose(labels.boxes, [BOX], rtol=1e-6)
    assert labels.names.tolist() == ["Car"]
    text = json.dumps(TOOLS[tool])
    for wrong, message in [
        (text.replace("12.0", '"far"'), "object 1: lacks a number or its class"),
        (text.replace("3.9", "-3.9"), "must be above 0"),
        (text.replace('"x": 0.0', '"x": 1.0'), "object 1: leans by 1 radians"),
        (text.replace("0.4", "90"), "set yaw: degrees"),
        (text.replace("Car", "Boat").replace("auto", "Boat").replace("Auto", "Boat"), "unknown class 'Boat'"),
        ('{"a": 1}', "is not JSON of SUSTechPOINTS, labelCloud (centroid) or Supervisely"),
    ]:
        path.write_text(wrong)
        with pytest.raises(DataError) as error:
            read_labels(path, NAMES, "radians", SAME)
        assert message in str(error.value)
        assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("content", ["[]", "", "\n"])
def test_empty_json_is_labelled_without_objects(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert len(read_labels(tmp_path / "a.json", NAMES, "radians", SAME).boxes) == 0


# Real frames, and use


def test_real_kitti_frames_as_clouds(shared: Callable[[str], Path], tmp_path: Path) -> None:
    source = Kitti(shared("kitti_real"), "all", camera_view=False)
    ids = source.ids[:4]
    data = opened(from_kitti(shared("kitti_real"), tmp_path / "own", ids), "labelled", classes=["Car"])
    assert data.ids == ids
    for index, id in enumerate(ids):
        theirs = source[source.ids.index(id)]
        np.testing.assert_array_equal(data[index].points, theirs.points)
        kept = np.isin(theirs.names, ["Car", "Van", "Pedestrian", "Person_sitting", "Cyclist"])
        np.testing.assert_allclose(data[index].boxes, theirs.boxes[kept], atol=2e-6)


def test_the_real_nuscenes_frame_as_clouds(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Points in the boxes are those that the annotators counted, in a frame that looks ahead along x."""
    folder = shared("nuscenes_real")
    boxes, names = nuscenes_boxes(folder / "annotations.json")
    root = from_nuscenes(folder / "LIDAR_TOP.pcd.bin", boxes, names, tmp_path / "own")
    anchors = dict.fromkeys(read_description(root).classes, ANCHOR)
    settings = Config.model_validate({"data": {"kind": "clouds", "root": str(root)}, "model": {"anchors": anchors}})
    one = open_dataset(settings.data, "labelled")[0]
    instances = json.loads((folder / "annotations.json").read_text())["instances"]
    boxes = boxes[[name != "other" for name in names]]
    counted = [instance["num_lidar_pts"] for instance in instances if instance["name"] != "other"]
    ours = points_in_boxes(one.points, one.boxes).sum(axis=1)
    close = np.linalg.norm(boxes[:, :2], axis=1) < 40
    assert np.abs(ours - counted)[close].max() <= np.maximum(3, 0.1 * np.array(counted)[close].max())
    assert np.median(np.abs(ours - counted)) <= 1
    assert one.dropped > 0  # the car's own points
    np.testing.assert_allclose(one.boxes[:, 0], boxes[:, 1], atol=1e-5)  # its y is ahead


def test_batches_are_augmented_without_a_calibration(root: Path) -> None:
    augment = {"ground_truth_sampling": {"Car": 3}, "object_noise": {}, "flip_x": 0.5}
    settings = config(root, augment=augment).data
    loader = make_loader(open_dataset(settings, "train"), settings, batch_size=4, training=True, seed=0)
    batches = list(loader.epoch(0))
    assert sum(len(batch) for batch in batches) == len(open_dataset(settings, "train"))
    assert sum(len(boxes) for batch in batches for boxes in batch.boxes) > 8  # many are mirrored out of range


def test_the_fingerprint_follows_the_files(root: Path) -> None:
    before = opened(root, "all").fingerprint()
    assert opened(root, "all").fingerprint() == before
    write_labels(root / "labels" / "000.txt", np.array([BOX, BOX]), ["Car", "Car"])
    after = opened(root, "all").fingerprint()
    assert after != before
    (root / "dataset.yaml").write_text(yaml.safe_dump(SAID | {"ignore": ["tree", "auto2"]}))
    assert opened(root, "all").fingerprint() not in (before, after)
