"""Show frames of a data set with their labelled boxes: in a window, or as one HTML page to turn."""

import argparse

import numpy as np

from mink_pd.cli import console, warn
from mink_pd.config.points import NONE
from mink_pd.data import open_dataset, view_of
from mink_pd.data.clouds.survey import survey, suspicions
from mink_pd.data.dataset import Dataset
from mink_pd.data.frame import Frame
from mink_pd.data.layouts import EVERYWHERE, config_of_folder, splits_of
from mink_pd.errors import ConfigError
from mink_pd.files import check_writable, write_text
from mink_pd.render import Outlook, Scene, check_display, choose_frame, show
from mink_pd.render.colours import class_colours
from mink_pd.render.film import labelled_scene
from mink_pd.render.shapes import view_targets
from mink_pd.render.sheet import SIZE
from mink_pd.report.label_page import labels_page


def main(options: argparse.Namespace) -> None:
    """Write the page or open the window; say what looks wrong."""
    if options.save is None:
        check_display("frames as a page instead with --save FILE.html")
    elif options.save.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{options.save}: the page is HTML; give it the suffix .html")
    check_writable(options.save)
    config = config_of_folder(options.data, options.kind)
    split = options.split or {"clouds": "labelled", "kitti": "all"}.get(config.kind, splits_of(config)[0])
    dataset = open_dataset(config, split)
    view = view_of(config)
    if options.save is None:
        frame = choose_frame(dataset, EVERYWHERE, options.frame)
        warn(suspicions(survey([frame]), config.intensity != NONE))
        colours = class_colours(list(dict.fromkeys(map(str, frame.names))))
        scene: Scene = labelled_scene(frame.points, frame.boxes, frame.names, colours)
        camera = Outlook(view).camera(view_targets(frame.points, frame.boxes), SIZE, elevation=38.0)
        show(scene, camera, f"{options.data.name}, frame {frame.id}: {len(frame.boxes)} labelled objects")
        return
    frames = chosen_frames(dataset, options)
    title = f"{options.data.resolve().name}, split {split}"
    warnings = suspicions(survey(frames), config.intensity != NONE)
    write_text(options.save, labels_page(frames, title, view.all_around, warnings))
    warn(warnings)
    objects = sum(len(frame.boxes) for frame in frames)
    console.print(f"{options.save}: {objects} labelled objects in {len(frames)} frames", soft_wrap=True)


def chosen_frames(dataset: Dataset, options: argparse.Namespace) -> list[Frame]:
    """The frame that was asked for, or frames evenly spread over the split."""
    if options.frame is not None:
        return [choose_frame(dataset, EVERYWHERE, options.frame)]
    count = min(options.frames, len(dataset))
    return [dataset[int(index)] for index in np.linspace(0, len(dataset) - 1, count).round()]
