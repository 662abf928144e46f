"""KITTI's figures for a whole validation split, from files on disk."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.machine import scalar_milliseconds
from benchmarks.rows.row import Row
from benchmarks.thread_counts import OURS
from mink_pd.data.kitti.images import IMAGE_SIZE
from mink_pd.data.kitti.labels import write_objects
from mink_pd.data.kitti.projection import detections_to_objects
from mink_pd.data.objects import Objects
from mink_pd.evaluate.kitti import evaluate_folders
from mink_pd.simulator.rig import calibration

# The time of the official C++ evaluator for 3,769 frames on one core [ms], and of SciPy's k-d tree on that machine (see
# benchmarks.machine.scalar_milliseconds). On other machines both times are assumed to change by the same factor.
OFFICIAL_MS, OFFICIAL_FRAMES, SCALAR_MS = 26_000.0, 3769, 21.0
LABELS = DETECTIONS = 10.35  # per frame: 39,000 in total
FOUND = 0.8  # share of the labels with a detection; the other detections are elsewhere
CLASSES = np.array(["Car", "Pedestrian", "Cyclist", "Van"])
SHARES = (0.72, 0.15, 0.06, 0.07)
SIZES = np.array([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73], [5.0, 1.9, 2.2]])  # l, w, h [m]


def write_split(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write label and detection files of made-up frames with KITTI's numbers of objects; return their folders."""
    rng = np.random.default_rng(0)
    count = round(frames * LABELS)
    owner, kind = rng.integers(0, frames, count), rng.choice(len(CLASSES), count, p=SHARES)  # (L,)
    boxes = _boxes(rng, kind)
    truth = _objects(boxes, CLASSES[kind])
    truth.truncated, truth.occluded = np.zeros(count), rng.integers(0, 3, count)
    truth.score = None

    hit = rng.random(count) < FOUND
    near = boxes[hit] + rng.normal(0, [0.15, 0.1, 0.05, 0.1, 0.05, 0.05, 0.05], (hit.sum(), 7))
    stray = rng.choice(3, round(frames * DETECTIONS) - hit.sum(), p=(0.7, 0.2, 0.1))
    names = np.concatenate([np.where(kind[hit] == 3, "Car", CLASSES[kind[hit]]), CLASSES[stray]])
    found = _objects(np.concatenate([near, _boxes(rng, stray)]), names)
    found.score = np.concatenate([rng.beta(4, 2, hit.sum()), rng.beta(2, 4, len(stray))])
    found_owner = np.concatenate([owner[hit], rng.integers(0, frames, len(stray))])

    folders = folder / "label_2", folder / "detections"
    for place, objects, frame in zip(folders, (truth, found), (owner, found_owner), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        order = np.argsort(frame, kind="stable")
        first = np.searchsorted(frame[order], np.arange(frames + 1))
        for index in range(frames):
            write_objects(place / f"{index:06d}.txt", objects[order[first[index] : first[index + 1]]])
    return folders


def _boxes(rng: np.random.Generator, kind: np.ndarray) -> np.ndarray:
    """Boxes (B, 7) on the ground within the camera's view."""
    ahead = rng.uniform(6, 55, len(kind))
    side = ahead * rng.uniform(-0.6, 0.6, len(kind))
    size = SIZES[kind] * rng.normal(1, 0.05, (len(kind), 3))
    return np.column_stack([ahead, side, size[:, 2] / 2 - 1.7, size, rng.uniform(-np.pi, np.pi, len(kind))])


def _objects(boxes: np.ndarray, names: np.ndarray) -> Objects:
    objects = detections_to_objects(boxes, names, np.zeros(len(boxes)), calibration(), IMAGE_SIZE)
    assert len(objects) == len(boxes), "a box is out of the camera's view"
    return objects


def kitti_eval(inputs: Inputs) -> Pair:
    frames = inputs.sizes.evaluated
    labels, detections = write_split(inputs.folder / "evaluation", frames)
    scalar = scalar_milliseconds()
    official = OFFICIAL_MS * frames / OFFICIAL_FRAMES * scalar / SCALAR_MS
    note = (
        f"files to figures, {frames} made-up frames with {LABELS} labels and detections each; the peer was measured"
        f" elsewhere: {OFFICIAL_MS / 1e3:.0f} s, scaled by a k-d tree's {scalar:.1f} ms here and {SCALAR_MS:.0f} there"
    )
    return Pair(Side(partial(evaluate_folders, labels, detections), OURS), official, notes=[note])


ROWS = [
    Row(
        "kitti-eval",
        "KITTI evaluation, 3,769 frames",
        "the official C++ evaluator on one core, scaled",
        5.0,
        kitti_eval,
    )
]
