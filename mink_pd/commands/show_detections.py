"""Show the detections of two detectors in one frame side by side, with their outcomes."""

import argparse

from mink_pd.cli import console
from mink_pd.commands.viewing import check_output, open_frame
from mink_pd.data import view_of
from mink_pd.detect.predict import detect_frame
from mink_pd.evaluate.scorers import make_scorer
from mink_pd.models.checkpoint import load_detector
from mink_pd.render import (
    FALSE_POSITIVE,
    MISSED,
    TRUE_POSITIVE,
    Outlook,
    detections_figure,
    detections_side_by_side,
    save_png,
    show,
)


def main(options: argparse.Namespace) -> None:
    """Detect with both detectors, judge, then save the picture or open the window."""
    check_output(options)
    runs = (options.run_a, options.run_b)
    detectors = [load_detector(path, which=options.which) for path in runs]
    data = detectors[0][1].data
    dataset, frame = open_frame(options, data)
    names = options.names or [path.stem for path in runs]
    left, right = (
        make_scorer(dataset, config).judge(frame, detect_frame(detector, frame, config), options.score, name)
        for name, (detector, config) in zip(names, detectors, strict=True)
    )
    outlook = Outlook(view_of(data))
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
