"""Show frames of a data set with their labelled boxes: in a window, or as one HTML page to turn."""

import argparse
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from mink_pd.cli import console
from mink_pd.config import DataConfig
from mink_pd.data import open_dataset, view_of
from mink_pd.data.dataset import Dataset
from mink_pd.data.frame import Frame
from mink_pd.errors import ConfigError, DataError
from mink_pd.files import check_writable, write_text
from mink_pd.registry import DATASETS
from mink_pd.render import Outlook, Scene, check_display, choose_frame, show
from mink_pd.render.colours import class_colours
from mink_pd.render.film import labelled_scene
from mink_pd.render.shapes import view_targets
from mink_pd.render.sheet import SIZE
from mink_pd.report.label_page import labels_page

_EVERYWHERE = (-1e4, -1e4, -1e4, 1e4, 1e4, 1e4)  # a range [m] that leaves nothing out


def main(options: argparse.Namespace) -> None:
    """Write the page or open the window."""
    if options.save is None:
        check_display()
    check_writable(options.save)
    config, split = settings_of(options.data, options.kind)
    dataset = open_dataset(config, options.split or split)
    view = view_of(config)
    if options.save is None:
        frame = choose_frame(dataset, _EVERYWHERE, options.frame)
        colours = class_colours(list(dict.fromkeys(map(str, frame.names))))
        scene: Scene = labelled_scene(frame.points, frame.boxes, frame.names, colours)
        camera = Outlook(view).camera(view_targets(frame.points, frame.boxes), SIZE, elevation=38.0)
        show(scene, camera, f"{options.data.name}, frame {frame.id}: {len(frame.boxes)} labelled objects")
        return
    frames = chosen_frames(dataset, options)
    title = f"{options.data.resolve().name}, split {options.split or split}"
    write_text(options.save, labels_page(frames, title, view.all_around))
    objects = sum(len(frame.boxes) for frame in frames)
    console.print(f"{options.save}: {objects} labelled objects in {len(frames)} frames", soft_wrap=True)


def settings_of(root: Path, kind: str | None) -> tuple[DataConfig, str]:
    """The settings of the data set in a folder, and a split of it that has labels. Raises ConfigError or DataError."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give a data set")
    tables = sorted(path.name for path in root.glob("v1.0-*") if path.is_dir())
    looks = "clouds" if (root / "points").is_dir() else "nuscenes" if tables else "kitti"
    kind = kind or looks
    more = {"version": tables[-1]} if kind == "nuscenes" and tables else {}
    section = DATASETS[kind].Settings
    try:
        config = section.model_validate({"kind": kind, "root": root, "range": _EVERYWHERE, **more})
    except ValidationError as error:
        raise ConfigError(f"{root}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    mini = {"v1.0-mini": "mini_train"}.get(str(more.get("version")), "train")
    return config, {"clouds": "labelled", "nuscenes": mini, "kitti": "all"}.get(kind, "train")


def chosen_frames(dataset: Dataset, options: argparse.Namespace) -> list[Frame]:
    """The frame that was asked for, or frames evenly spread over the split."""
    if options.frame is not None:
        return [choose_frame(dataset, _EVERYWHERE, options.frame)]
    count = min(options.frames, len(dataset))
    return [dataset[int(index)] for index in np.linspace(0, len(dataset) - 1, count).round()]
