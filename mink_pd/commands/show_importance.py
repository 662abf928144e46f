"""Show where the teacher looks: its importance over the points, and what distillation would select."""

import argparse

from mink_pd.cli import console
from mink_pd.commands.viewing import check_output, open_frame
from mink_pd.data import view_of
from mink_pd.distill.importance import importance_title
from mink_pd.distill.inspect import inspect_importance
from mink_pd.models.checkpoint import load_detector
from mink_pd.render import (
    Outlook,
    importance_camera,
    importance_figure,
    importance_scene,
    save_png,
    show,
)


def main(options: argparse.Namespace) -> None:
    """Save the picture or open the window."""
    check_output(options)
    detector, config = load_detector(options.checkpoint, which=options.which)
    _, frame = open_frame(options, config.data)
    view = inspect_importance(detector, frame, options.tap, options.importance, options.rows)
    boxes, velocities = view.boxes, view.velocities
    outlook = Outlook(view_of(config.data))
    console.print(
        f"frame {frame.id}, tap {options.tap}: {view.inside:.0%} of the {len(view.selected)} selected locations "
        f"lie inside {len(boxes)} labelled objects",
        soft_wrap=True,
    )
    title = "Where the teacher looks"
    meaning = importance_title(options.importance)
    subtitle = f"Frame {frame.id}. Points coloured by importance: {meaning} ({options.tap})."
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
