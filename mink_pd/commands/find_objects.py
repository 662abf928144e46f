"""Which labelled objects of a few frames a detector finds, one by one."""

import argparse

from rich.table import Table

from mink_pd.cli import console
from mink_pd.data import open_dataset
from mink_pd.detect.find import search
from mink_pd.models.checkpoint import load_detector


def main(options: argparse.Namespace) -> None:
    """Print every object of the class with its best overlap, and how many are found."""
    detector, config = load_detector(options.checkpoint)
    data = config.data.model_copy(update={"root": options.root})
    found = search(detector, config, open_dataset(data, options.split), options.name)
    table = Table("frame", "x, y [m]", "best IoU BEV", "best IoU 3D", "score")
    for one in found:
        position = f"{one.box[0]:.1f}, {one.box[1]:.1f}"
        table.add_row(one.frame, position, f"{one.bev:.2f}", f"{one.iou:.2f}", f"{one.score:.2f}")
    console.print(table)
    for title, values in (("3D", [one.iou for one in found]), ("BEV", [one.bev for one in found])):
        counts = ", ".join(f"{sum(v > iou for v in values)} at {title} IoU {iou}" for iou in (0.5, 0.7))
        console.print(f"of {len(found)} labelled {options.name}s within range found: {counts}")
