"""Made-up labelled frames: boxes with points on their sides, on flat ground; for tests that check labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cloud_folders import write_folder

from mink_pd.data.frame import Frame

GROUND = -1.8  # [m]
SIZES = {"Car": (4.4, 1.9, 1.6), "Bus": (11.0, 2.7, 3.3), "Person": (0.8, 0.6, 1.75)}
CONE = (0.2, 0.2, 0.5)  # smaller than any cell


def street(seed: int, names: tuple[str, ...] = ("Car", "Car", "Car", "Bus", "Person")) -> Frame:
    """About 2,300 points: 60 to 160 on the sides of each object, the others on the ground; yaws are any."""
    rng = np.random.default_rng(seed)
    clouds = [np.column_stack([rng.uniform(-40, 40, (1500, 2)), rng.normal(GROUND, 0.03, 1500)])]
    boxes = np.zeros((len(names), 7))
    for row, name in enumerate(names):
        size = np.array(SIZES.get(name, CONE)) * rng.uniform(0.93, 1.07)
        angle = 2 * np.pi * (row + rng.uniform(0, 0.3)) / len(names)
        distance = rng.uniform(12, 30)
        centre = distance * np.cos(angle), distance * np.sin(angle), GROUND + size[2] / 2
        boxes[row] = (*centre, *size, rng.uniform(-np.pi, np.pi))
        clouds.append(_sides(rng, boxes[row], int(rng.integers(60, 160))))
    points = np.concatenate(clouds)
    cloud = np.column_stack([points, rng.uniform(0, 1, len(points))])
    return Frame(f"{seed:03d}", cloud.astype(np.float32), boxes.astype(np.float32), np.array(names))


def _sides(rng: np.random.Generator, box: np.ndarray, count: int) -> np.ndarray:
    """Points (count, 3) on the four sides of a box, just within."""
    x, y, z, length, width, height, yaw = box
    local = rng.uniform(-0.49, 0.49, (count, 3))
    side, along = rng.choice([-0.48, 0.48], count), rng.random(count) < width / (length + width)
    local[along, 0], local[~along, 1] = side[along], side[~along]
    local *= (length, width, height)
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = local[:, 0] * cos - local[:, 1] * sin, local[:, 0] * sin + local[:, 1] * cos
    return np.column_stack([x + turned[0], y + turned[1], z + local[:, 2]])


def write_street(root: Path, frames: Sequence[Frame], **said: Any) -> Path:
    """A folder of clouds of these frames."""
    columns = {"columns": ["x", "y", "z", "intensity"], "intensity": 1, "axes": "x_forward", "classes": list(SIZES)}
    return write_folder(root, {one.id: (one.points, one.boxes, one.names.tolist()) for one in frames}, **columns | said)
