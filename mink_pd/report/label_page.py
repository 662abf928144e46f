"""A page that shows labelled frames in 3D, so that a reader sees whether the labels' conventions are right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mink_pd.boxes.geometry import corners, pairs_in_boxes
from mink_pd.data.frame import Frame
from mink_pd.render.colours import class_colours
from mink_pd.render.shapes import ground_height
from mink_pd.report.page import read_template, script_data
from mink_pd.report.shown_frame import base64_of, packed

_GREYS = 200  # colours of points outside boxes; the other colours of the table belong to the classes
_MOST_CLASSES = 256 - _GREYS
_FARTHEST = 500.0  # [m]; farther points are not drawn, for one at 100 km would leave a step of 3 m to all others
_TALL = 3.0  # height above the ground at which points reach the lightest grey [m]


def labels_page(frames: Sequence[Frame], title: str, all_around: bool, warnings: Sequence[str] = ()) -> str:
    """One self-contained HTML page.

    all_around: whether the frames cover all directions, or only the field of view ahead.
    warnings: listed above the picture.
    """
    names = list(dict.fromkeys(str(name) for frame in frames for name in frame.names))
    inside = [np.bincount(pairs_in_boxes(f.points[:, :3], f.boxes)[0], minlength=len(f.boxes)) for f in frames]
    boxes = sum(len(frame.boxes) for frame in frames)
    environment = Environment(loader=PackageLoader("mink_pd.report"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("labels.html").render(
        title=title,
        finding=f"{boxes} objects of {len(names)} classes in {len(frames)} frames.",
        warnings=list(warnings),
        frames=[_table(frame, counts) for frame, counts in zip(frames, inside, strict=True)],
        scenes=script_data([_scene(frame, names, all_around) for frame in frames]),
        style=Markup(read_template("style.css")),
        scene_script=Markup(read_template("scene.js")),
    )


def _table(frame: Frame, inside: np.ndarray) -> dict[str, Any]:
    """The rows of the table below the picture, one per object."""
    rows = [
        {
            "name": str(name),
            "points": int(count),
            "centre": ", ".join(f"{value:.1f}" for value in box[:3]),
            "size": ", ".join(f"{value:.2f}" for value in box[3:6]),
            "yaw": f"{np.degrees(box[6]):.0f}",
        }
        for box, name, count in zip(frame.boxes, frame.names, inside, strict=True)
    ]
    far = int(np.count_nonzero(~_drawn(frame)))
    return {
        "id": frame.id,
        "objects": rows,
        "note": f"Points beyond {_FARTHEST:g} m are not drawn: {far}." if far else "",
    }


def _drawn(frame: Frame) -> np.ndarray:
    """Mask (P,) of the points that are near enough to be drawn."""
    near: np.ndarray = (np.abs(frame.points[:, :3]) <= _FARTHEST).all(axis=1)
    return near


def _scene(frame: Frame, names: list[str], all_around: bool) -> dict[str, Any]:
    """The viewer's data: points as int16 multiples of a step, indices into a colour table, and boxes by class."""
    points = frame.points[_drawn(frame), :3].astype(np.float64)  # (P, 3)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2 if len(points) else np.zeros(3)
    middle[:2] *= not all_around  # centred on the sensor, so that one distant point does not shift the view
    ground = ground_height(frame.points)
    colours = class_colours(names)
    table = np.zeros((256, 3))
    table[:_GREYS] = 80 / 255 + np.linspace(0, 110 / 255, _GREYS)[:, None]
    table[_GREYS : _GREYS + len(names)] = [np.array(colours[name]) for name in names[:_MOST_CLASSES]]
    number = np.round((_GREYS - 1) * np.clip((points[:, 2] - ground) / _TALL, 0, 1)).astype(np.uint8)
    box, point = pairs_in_boxes(points.astype(np.float32), frame.boxes)
    of_class = np.array([min(names.index(str(name)), _MOST_CLASSES - 1) for name in frame.names], np.int64)
    number[point] = _GREYS + of_class[box] if len(box) else number[point]
    shapes = [
        {"corners": (vertices - middle).round(2).tolist(), "outcome": str(name)}
        for vertices, name in zip(corners(frame.boxes), frame.names, strict=True)
    ]
    counts = {name: int(np.count_nonzero(frame.names == name)) for name in names}
    return {
        "frame": frame.id,
        **packed(points, middle),
        "ground": round(ground, 3),
        "all_around": all_around,
        "importance": base64_of(number),
        "colours": base64_of(np.round(255 * table).astype(np.uint8)),
        "selected": [],
        "outcomes": {name: [round(255 * part) for part in colours[name]] for name in names},
        "panels": [{"name": "labels", "counts": counts, "boxes": shapes}],
    }
