"""Show two detectors on one frame, side by side: what they find, what they invent, what they miss."""

import argparse
from pathlib import Path

from mink_pd.cli import console, parser, run
from mink_pd.data import open_dataset
from mink_pd.detect.predict import detect_frame
from mink_pd.models.checkpoint import load_detector
from mink_pd.render import (
    FALSE_POSITIVE,
    MISSED,
    OUTLOOKS,
    TRUE_POSITIVE,
    check_display,
    choose_frame,
    detections_figure,
    detections_side_by_side,
    save_png,
    show,
)
from mink_pd.report.judge import judge


def main(options: argparse.Namespace) -> None:
    """Detect with both, judge, then save the picture or open the window."""
    if options.save is None:
        check_display()
    runs = (options.run_a, options.run_b)
    detectors = [load_detector(path) for path in runs]
    data = detectors[0][1].data.model_copy(update={"root": options.data or detectors[0][1].data.root})
    dataset = open_dataset(data, options.split or ("all" if options.frame else data.val_split))
    frame = choose_frame(dataset, data.range, options.frame)
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
