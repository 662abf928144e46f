"""Show two detectors on one frame, side by side: what they find, what they invent, what they miss."""

import argparse
from pathlib import Path

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.cli import console, parser, run
from mink_pd.config import DataConfig
from mink_pd.data import open_dataset
from mink_pd.data.frame import Frame
from mink_pd.data.loader import keep_boxes
from mink_pd.errors import DataError
from mink_pd.evaluate.centres import match_centres
from mink_pd.evaluate.matching import match_frame
from mink_pd.render import (
    FALSE_POSITIVE,
    IGNORED,
    MISSED,
    OUTLOOKS,
    TRUE_POSITIVE,
    Panel,
    check_display,
    choose_frame,
    detections_figure,
    detections_side_by_side,
    save_png,
    show,
)
from mink_pd.train.predict import FrameDetections, detect_frame, to_objects
from mink_pd.train.runs import load_detector


def main(options: argparse.Namespace) -> None:
    """Detect with both, judge, then save the picture or open the window."""
    if options.save is None:
        check_display()
    runs = (options.run_a, options.run_b)
    detectors = [load_detector(path) for path in runs]
    data = detectors[0][1].data.model_copy(update={"root": options.data or detectors[0][1].data.root})
    dataset = open_dataset(data, options.split or ("all" if options.frame else data.val_split))
    frame = choose_frame(dataset, options.frame)
    names = options.names or [path.stem for path in runs]
    left, right = (
        judge(frame, detect_frame(detector, frame, config), options.score, name, config.data)
        for name, (detector, config) in zip(names, detectors, strict=True)
    )
    outlook = OUTLOOKS[data.kind]
    for panel in (left, right):
        console.print(
            f"{panel.title}, frame {frame.id}: {panel.count(TRUE_POSITIVE)} true positives, "
            f"{panel.count(FALSE_POSITIVE)} false positives, {panel.count(MISSED)} missed",
            soft_wrap=True,
        )
    title = f"Detections of {left.title} and {right.title}, frame {frame.id}"
    if options.save is None:
        show(*detections_side_by_side(frame.points, left, right, outlook), title)
        return
    save_png(detections_figure(frame.points, left, right, title, outlook=outlook), options.save)
    console.print(f"{options.save}", soft_wrap=True)


def judge(frame: Frame, found: FrameDetections, score: float, title: str, data: DataConfig) -> Panel:
    """Detections of at least ``score`` and missed labels, by the data set's rules.

    Raises DataError where the frame has no labels to judge by.
    """
    if data.kind == "nuscenes":
        return by_centres(keep_boxes(frame, data.range), found, score, title, data.classes)
    return by_overlap(frame, found, score, title)


def by_centres(frame: Frame, found: FrameDetections, score: float, title: str, classes: list[str]) -> Panel:
    """By nuScenes' distance of true positives; labels without a point or out of range do not count."""
    kept, labels = found.scores >= score, np.isin(frame.names, classes)
    boxes, names, scores = found.boxes[kept], found.names[kept], found.scores[kept]
    match = match_centres(frame.boxes[labels], frame.names[labels], boxes, names, scores)
    missed = np.flatnonzero(labels)[match.missed]
    unknown = np.full((len(frame.boxes), 2), np.nan)
    of_labels = unknown if frame.velocities is None else frame.velocities
    of_found = np.full((len(boxes), 2), np.nan) if found.velocities is None else found.velocities[kept]
    return Panel(
        title=title,
        boxes=np.concatenate([boxes, frame.boxes[missed]]),
        outcomes=np.concatenate([
            np.where(match.true_positive, TRUE_POSITIVE, FALSE_POSITIVE), np.full(len(missed), MISSED)
        ]),
        scores=np.concatenate([scores, np.full(len(missed), np.nan)]),
        names=np.concatenate([names, frame.names[missed]]),
        velocities=np.concatenate([of_found, of_labels[missed]]),
    )  # fmt: skip


def by_overlap(frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
    """By KITTI's evaluator at the moderate level."""
    if frame.objects is None or frame.calibration is None:
        raise DataError(f"frame {frame.id} has no labels to judge detections by; choose a labelled split")
    rows = to_objects(frame, found)
    assert rows.score is not None
    rows = rows[rows.score >= score]
    match = match_frame(frame.objects, rows, score)
    outcomes = np.where(match.true_positive, TRUE_POSITIVE, np.where(match.false_positive, FALSE_POSITIVE, IGNORED))
    boxes = camera_to_lidar(rows.location, rows.dimensions, rows.rotation_y, frame.calibration.camera_from_lidar)
    missed = frame.boxes[match.missed]
    return Panel(
        title=title,
        boxes=np.concatenate([boxes, missed]),
        outcomes=np.concatenate([outcomes, np.full(len(missed), MISSED)]),
        scores=np.concatenate([rows.score, np.full(len(missed), np.nan)]),
    )


if __name__ == "__main__":
    arguments = parser(
        "Show the detections of two detectors on one frame side by side: true positives, false positives and"
        " misses, with counts. Opens a window, or saves a picture with --save."
    )
    arguments.add_argument("run_a", type=Path, metavar="RUN_A", help="left: run folder or .safetensors file")
    arguments.add_argument("run_b", type=Path, metavar="RUN_B", help="right: likewise")
    arguments.add_argument("--names", nargs=2, metavar=("A", "B"), help="titles; else the runs' names")
    arguments.add_argument("--data", type=Path, metavar="ROOT", help="data set; else that of RUN_A")
    arguments.add_argument("--split", help="where to look for the frame; else RUN_A's validation split")
    arguments.add_argument(
        "--frame", metavar="ID", help="frame; else the one of the first twenty with about eight objects"
    )
    arguments.add_argument("--score", type=float, default=0.3, help="detections below this score are left out")
    arguments.add_argument("--save", type=Path, metavar="PNG", help="write a picture instead of opening a window")
    run(main, arguments)
