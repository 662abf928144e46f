"""Show where the teacher looks: its importance over the points, and what distillation would select."""

import argparse
from pathlib import Path
from typing import get_args

from mink_pd.cli import console, parser, run
from mink_pd.data import open_dataset
from mink_pd.distill.importance import Importance
from mink_pd.distill.inspect import inspect_importance
from mink_pd.models.checkpoint import load_detector
from mink_pd.render import (
    OUTLOOKS,
    check_display,
    choose_frame,
    importance_camera,
    importance_figure,
    importance_scene,
    save_png,
    show,
)
from mink_pd.report.frame import KINDS


def main(options: argparse.Namespace) -> None:
    """Save the picture or open the window."""
    if options.save is None:
        check_display()
    detector, config = load_detector(options.checkpoint)
    data = config.data.model_copy(update={"root": options.data or config.data.root})
    dataset = open_dataset(data, options.split or ("all" if options.frame else data.val_split))
    frame = choose_frame(dataset, data.range, options.frame)
    view = inspect_importance(detector, frame, options.tap, options.importance, options.rows)
    boxes, velocities = view.boxes, view.velocities
    outlook = OUTLOOKS[config.data.kind]
    console.print(
        f"frame {frame.id}, tap {options.tap}: {view.inside:.0%} of the {len(view.selected)} selected places "
        f"lie inside {len(boxes)} labelled objects",
        soft_wrap=True,
    )
    title = "Where the teacher looks"
    subtitle = f"Frame {frame.id}. Points coloured by importance: {KINDS[options.importance]} ({options.tap})."
    if options.save is None:
        scene, _ = importance_scene(view.points, view.importance, view.selected, boxes, velocities, outlook)
        camera = importance_camera(view.points, view.selected, boxes, outlook=outlook)
        show(scene, camera, f"{title}: {subtitle}")
        return
    figure = importance_figure(
        view.points, view.importance, view.selected, boxes, view.inside, title, subtitle, velocities, outlook
    )
    save_png(figure, options.save)
    console.print(f"{options.save}", soft_wrap=True)


def positive(text: str) -> int:
    """A whole number from 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


if __name__ == "__main__":
    arguments = parser(
        "Show the teacher's importance over the points of one frame, the rows that distillation selects, the"
        " labelled boxes, and the share of selected rows inside them. Opens a window, or saves a picture"
        " with --save."
    )
    arguments.add_argument(
        "checkpoint",
        type=Path,
        metavar="RUN_OR_CHECKPOINT",
        help="the teacher: run folder or .safetensors file",
    )
    arguments.add_argument("--data", type=Path, metavar="ROOT", help="data set; else that of the run")
    arguments.add_argument("--split", help="where to look for the frame; else the run's validation split")
    arguments.add_argument(
        "--frame", metavar="ID", help="frame; else the one of the first twenty with about eight objects"
    )
    arguments.add_argument("--tap", default="neck", help="the features that distillation would pair")
    arguments.add_argument(
        "--importance", choices=get_args(Importance), default="score", help="what makes a row important"
    )
    arguments.add_argument("--rows", type=positive, default=64, metavar="N", help="how many rows are selected")
    arguments.add_argument("--save", type=Path, metavar="PNG", help="write a picture instead of opening a window")
    run(main, arguments)
