"""Can the detector fit real frames? Train on a few alone and look for every labelled car in them."""

import argparse
from pathlib import Path

import numpy as np
from rich.table import Table

from mink_pd.boxes.iou import iou_3d
from mink_pd.cli import console, parser, run
from mink_pd.config import load_config
from mink_pd.data import open_dataset
from mink_pd.data.frame import Frame
from mink_pd.errors import MinkPDError
from mink_pd.train.experiment import train_detector
from mink_pd.train.predict import detect_frame
from mink_pd.train.runs import load_detector

SETTINGS = ("data.train_split=all", "data.val_split=all", "data.augment.enabled=false", "train.epochs=400",
            "train.batch_size=5", "train.validate_every=0", "name=overfit")  # fmt: skip
IOU = 0.7  # of KITTI's car class


def main(options: argparse.Namespace) -> None:
    """Train, then count the cars within range that a detection overlaps enough in 3D."""
    config = load_config(options.config, [*SETTINGS, f"data.root={options.root}", *options.overrides])
    folder = train_detector(config, resume=options.resume, force=not options.resume)
    detector, _ = load_detector(folder.path)
    table = Table("frame", "car at x, y [m]", "best IoU 3D", "score", "found")
    found = total = 0
    dataset = open_dataset(config.data, "all")
    for frame in (dataset[index] for index in range(len(dataset))):
        detections = detect_frame(detector, frame, config)
        cars = cars_within(frame, config.data.range)
        ours = detections.names == "Car"
        overlap = iou_3d(cars, detections.boxes[ours])
        for car, row in zip(cars, overlap, strict=True):
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] > IOU
            total, found = total + 1, found + int(hit)
            seen = (f"{row[best]:.3f}", f"{detections.scores[ours][best]:.2f}") if best >= 0 else ("–", "–")
            table.add_row(frame.id, f"{car[0]:.1f}, {car[1]:.1f}", *seen, "yes" if hit else "no")
    console.print(table)
    console.print(f"{found} of {total} labelled cars within range found at 3D IoU {IOU}")
    if found < total:
        raise MinkPDError(f"{folder}: {total - found} cars were not found; train longer with train.epochs=...")


def cars_within(frame: Frame, bounds: tuple[float, ...]) -> np.ndarray:
    """Boxes (B, 7) of the labelled cars whose centre lies in the detector's range."""
    inside = (frame.boxes[:, :3] >= bounds[:3]).all(axis=1) & (frame.boxes[:, :3] < bounds[3:]).all(axis=1)
    return frame.boxes[inside & (frame.names == "Car")]


if __name__ == "__main__":
    arguments = parser("Train on the labelled frames of a KITTI folder alone, then look for every car in them.")
    arguments.add_argument("config", type=Path, help="YAML file, e.g. configs/pointpillars_kitti.yaml")
    arguments.add_argument("root", type=Path, help="KITTI folder that holds training/; all its frames are used")
    arguments.add_argument("overrides", nargs="*", metavar="key=value", help="settings over the file's")
    arguments.add_argument("--resume", action="store_true", help="continue, or only look if training is done")
    run(main, arguments)
