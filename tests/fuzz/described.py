"""Seeds for readers of data sets, labels, recordings, exports and run folders."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from readers import Seed
from recording_writers import START, make_points, write_bag1, write_bag2, write_mcap

from mink_pd.config.sensor import load_sensor
from mink_pd.data.clouds.cloud_description import read_description
from mink_pd.data.clouds.cloud_labels import read_labels
from mink_pd.data.kitti.images import size_of_image
from mink_pd.data.kitti.kitti_raw import read_raw_calibration
from mink_pd.data.recordings import Recording
from mink_pd.detect.bulk import Bulk
from mink_pd.detect.record import InputRecord
from mink_pd.evaluate.detection_files import read_detections
from mink_pd.export.card import Card, plain_yaml, read_card
from mink_pd.train.reporter import read_metrics
from mink_pd.train.run_folder import RunFolder

XYZ = ("x", "y", "z")
PLACE, SIZE, ANGLES = (dict(zip(XYZ, values, strict=True)) for values in ((9.5, 2, -1), (4, 1.6, 1.5), (0, 0, 0.5)))
LABELCLOUD_SIZE = dict(zip(("length", "width", "height"), SIZE.values(), strict=True))
LABELS = {
    "sustech.json": [{"obj_id": "1", "obj_type": "Car", "psr": {"position": PLACE, "scale": SIZE, "rotation": ANGLES}}],
    "labelcloud.json": {
        "folder": "clouds",
        "objects": [{"name": "Car", "centroid": PLACE, "dimensions": LABELCLOUD_SIZE, "rotations": ANGLES}],
    },
    "supervisely.json": {
        "objects": [{"key": "a1", "classTitle": "Car"}],
        "figures": [{"objectKey": "a1", "geometry": {"position": PLACE, "dimensions": SIZE, "rotation": ANGLES}}],
    },
}
DESCRIPTION = {
    "columns": ["x", "y", "z", "intensity"], "dtype": "float32", "intensity": 255, "axes": "y_forward",
    "yaw": "degrees", "sensor_height": 1.7, "classes": {"Car": ["car", "van"], "Truck": "lorry"}, "ignore": ["tree"],
}  # fmt: skip
SENSOR = {
    "height": 1.8, "range": 120.0, "azimuth_step": 0.2, "rate": 10.0,
    "beams": [{"count": 16, "from": -15.0, "to": 15.0}, {"angles": [-20.0, -18.5], "above": 0.1}],
}  # fmt: skip
CARD = Card(
    target="onnx", precision="float32", detector="pointpillars", bev="sparse", run="runs/a", checkpoint_sha256="0" * 64,
    versions={"torch": "2"}, opset=17, range=(0, -8, -3, 16, 8, 1), voxel_size=(0.16, 0.16, 4), grid=(100, 100),
    point_features=["x", "y", "z", "intensity"], camera_view=True, channels=64, mark=1.0, strides=[2], classes=["Car"],
    cloud={"columns": ["x", "y", "z", "intensity"], "dtype": "float32", "intensity": 1},
    pillars={"slots": 32, "overflow": "rows", "most": None, "features": ["x"], "empty_slots": False},
    anchors=[{"name": "Car", "size": (3.9, 1.6, 1.5), "z": -1, "yaw": 0}], tasks=None, head={}, empty_logit=-6, nms={},
    graphs={"rpn": {"file": "rpn.onnx", "inputs": {"x": ["n", 64]}, "outputs": {"y": [1, 64]}}}, config={},
)  # fmt: skip


def described(folder: Path) -> Iterator[Seed]:
    """All seeds of this module. folder: for files that only a library can write."""
    yield Seed("dataset.yaml", yaml.safe_dump(DESCRIPTION).encode(), lambda path: read_description(path.parent))
    for name, content in LABELS.items():
        yield Seed(name, json.dumps(content).encode(), labels)
    yield Seed("lidar.txt", 3 * b"9.5 2.0 -1.0 4.0 1.6 1.5 0.5 Car\n", labels)
    yield Seed("sensor.yaml", yaml.safe_dump(SENSOR).encode(), sensor)
    yield Seed("model.yaml", plain_yaml(CARD.model_dump(mode="json")).encode(), lambda path: read_card(path.parent))
    found = {"boxes": [[9.5, 2, -1, 4, 1.6, 1.5, 0.5]], "names": ["Car"], "scores": [0.9]}
    yield Seed("found.json", json.dumps(found).encode(), lambda path: read_detections(path.parent, [path.stem]))
    yield from of_recordings(folder)
    yield from of_raw_drives()
    for suffix in ("png", "jpg"):
        Image.new("RGB", (48, 32)).save(folder / f"image.{suffix}")
        yield Seed(f"image.{suffix}", (folder / f"image.{suffix}").read_bytes(), size_of_image)
    rows = [{"split": "train", "epoch": n, "step": 4 * n, "loss": 1.5} for n in (1, 2)]
    yield Seed("metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode(), read_metrics)
    files = {"teacher": {"path": "/a/last.safetensors", "sha256": "0" * 64}}
    yield Seed("files.json", json.dumps(files).encode(), lambda path: RunFolder(path.parent).read_files())
    line = json.dumps({"frame": "000000", "sha256": "0" * 64, "files": ["/a/000000.bin 640 1"]})
    yield Seed("detect.inputs.jsonl", f"{line}\n".encode(), lambda path: InputRecord(path.parent))
    yield Seed("detect.yaml", b"mink_pd: 0.2.0\nscore: 0.1\ncalib: null\n", detections)


def labels(path: Path) -> object:
    return read_labels(path, {"car": "Car"}, "radians", np.eye(4))


def sensor(path: Path) -> object:
    made = load_sensor(path)
    return made.elevations(), made.origins()


def detections(path: Path) -> None:
    """Open a folder of detections to continue in it."""
    Bulk([], path.parent, {"mink_pd": "0.2.0"}).open(force=False)  # type: ignore[arg-type]


def recording(path: Path) -> int:
    """Read every cloud of a recording in order, and one by its number."""
    opened = Recording(path)
    try:
        return sum(len(frame.points) for frame in opened) + len(opened[len(opened) - 1].points)
    finally:
        opened.close()


def of_recordings(folder: Path) -> Iterator[Seed]:
    """Bags of ROS 1 and ROS 2, and MCAP files as the mcap library writes them."""
    clouds, stamps = [make_points(30, seed) for seed in range(2)], [START, START + 100_000_000]
    yield Seed("ros1.bag", write_bag1(folder / "ros1.bag", clouds, stamps, ["/points"]).read_bytes(), recording)
    for profile in ("ros1", "ros2"):
        name = f"{profile}.mcap"
        yield Seed(name, write_mcap(folder / name, clouds, stamps, profile=profile).read_bytes(), recording)
    bag = write_bag2(folder / "ros2", clouds, stamps)
    rows, about = next(bag.glob("*.db3")), bag / "metadata.yaml"
    yield Seed(rows.name, rows.read_bytes(), recording)
    of_folder = {rows.name: rows.read_bytes()}
    yield Seed(about.name, about.read_bytes(), lambda path: recording(path.parent), of_folder)


def of_raw_drives() -> Iterator[Seed]:
    """Both calibration files of a day of KITTI's raw data."""
    numbers = "721.5 0 609.6 0 0 721.5 172.9 0 0 0 1 0"
    cameras = f"R_rect_00: 1 0 0 0 1 0 0 0 1\nS_rect_02: 1242 375\nP_rect_02: {numbers}\n".encode()
    lidar = b"calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n"
    files = {"calib_cam_to_cam.txt": cameras, "calib_velo_to_cam.txt": lidar}
    for name, content in files.items():
        beside = {other: text for other, text in files.items() if other != name}
        yield Seed(name, content, lambda path: read_raw_calibration(path.parent), beside)
