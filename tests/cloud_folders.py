"""Folders of clouds (``data.kind: clouds``) made of other data: a simulated sensor, nuScenes' and KITTI's frames.

From a shell: ``python tests/cloud_folders.py kitti KITTI_ROOT OUT`` or ``nuscenes SWEEP.pcd.bin ANNOTATIONS.json OUT``.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.datasets.nuscenes_dataset import CLASSES


def write_labels(path: Path, boxes: np.ndarray, names: Iterable[str]) -> None:
    """Lines x y z l w h yaw class of boxes (B, 7)."""
    rows = zip(boxes.tolist(), names, strict=True)
    path.write_text("".join(" ".join([*(f"{value:.6f}" for value in box), name]) + "\n" for box, name in rows))


def write_folder(root: Path, frames: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]], **said: Any) -> Path:
    """Points (P, C) as float32, boxes (B, 7) and names of each frame; ``said`` goes to dataset.yaml."""
    for part in ("points", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, (points, boxes, names) in frames.items():
        points.astype("<f4").tofile(root / "points" / f"{name}.bin")
        write_labels(root / "labels" / f"{name}.txt", boxes, names)
    (root / "dataset.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
    return root


def from_kitti(kitti: Path, root: Path, ids: Sequence[str] | str = "all") -> Path:
    """The labelled frames of a KITTI root, whole turns, without DontCare regions."""
    dataset = Kitti(kitti, ids, camera_view=False)
    frames = {}
    for frame in (dataset[index] for index in range(len(dataset))):
        frames[frame.id] = (frame.points, frame.boxes, frame.names.tolist())
    names = sorted({name for *_, names in frames.values() for name in names})
    classes = {"Car": ["Van"], "Pedestrian": ["Person_sitting"], "Cyclist": []}
    rest = [name for name in names if name not in (*classes, "Van", "Person_sitting")]
    columns = ["x", "y", "z", "intensity"]
    return write_folder(
        root, frames, columns=columns, intensity=1, axes="x_forward", sensor_height=1.73, classes=classes, ignore=rest
    )


def from_nuscenes(sweep: Path, boxes: np.ndarray, names: Sequence[str], root: Path) -> Path:
    """One turn of nuScenes' LiDAR with its five columns; x right, y forward. boxes (B, 7) in its own frame."""
    points = np.fromfile(sweep, "<f4").reshape(-1, 5)
    columns = ["x", "y", "z", "intensity", "ring"]
    known = {"own_vehicle": [-1.0, -1.0, -3.0, 1.0, 1.0, 1.0], "sensor_height": 1.84, "classes": list(CLASSES)}
    known["ignore"] = ["other"]
    frames = {"000000": (points, boxes, names)}
    return write_folder(root, frames, columns=columns, intensity=255, axes="y_forward", **known)


def nuscenes_boxes(annotations: Path) -> tuple[np.ndarray, list[str]]:
    """Boxes (B, 7) in the LiDAR's own frame, and their classes."""
    instances = json.loads(annotations.read_text())["instances"]
    return np.array([one["box"] for one in instances]), [one["name"] for one in instances]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kitti", source, out]:
            print(from_kitti(Path(source), Path(out)))
        case ["nuscenes", sweep, annotations, out]:
            print(from_nuscenes(Path(sweep), *nuscenes_boxes(Path(annotations)), Path(out)))
        case _:
            sys.exit(__doc__)
