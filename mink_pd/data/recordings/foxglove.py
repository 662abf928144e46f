"""Boxes as a foxglove.SceneUpdate in JSON (docs.foxglove.dev/docs/sdk/schemas/scene-update)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import cos, sin
from typing import Any

import numpy as np

SCENE_UPDATE = "foxglove.SceneUpdate"
Colour = tuple[float, float, float]
_PRIMITIVES = ("arrows", "cubes", "spheres", "cylinders", "lines", "triangles", "texts", "models")
_GREY: Colour = (0.7, 0.7, 0.7)
_OPACITY = 0.35  # of boxes; the points inside must be visible
_DELETE_ALL = 1


@dataclass
class Boxes:
    """Boxes to show in Foxglove."""

    boxes: np.ndarray  # (B, 7) in the LiDAR frame
    names: np.ndarray  # (B,)
    scores: np.ndarray | None = None  # (B,); None for labels
    colours: Mapping[str, Colour] = field(default_factory=dict)  # RGB [0..1] by name


def scene_update(found: Boxes, stamp: int, frame: str) -> dict[str, Any]:
    """The message that replaces all boxes of its topic.

    stamp: time stamp of the cloud [ns].
    frame: frame of reference of the cloud.
    """
    at = _time(stamp)
    deletion = {"timestamp": at, "type": _DELETE_ALL, "id": ""}
    return {"deletions": [deletion], "entities": [_entity(found, row, at, frame) for row in range(len(found.boxes))]}


def _entity(found: Boxes, row: int, at: dict[str, int], frame: str) -> dict[str, Any]:
    x, y, z, length, width, height, yaw = (float(value) for value in found.boxes[row])
    name = str(found.names[row])
    r, g, b = (float(value) for value in found.colours.get(name, _GREY))
    metadata, label = [{"key": "class", "value": name}], name
    if found.scores is not None:
        metadata.append({"key": "score", "value": f"{found.scores[row]:.4f}"})
        label = f"{name} {found.scores[row]:.2f}"
    turned = {"x": 0.0, "y": 0.0, "z": sin(yaw / 2), "w": cos(yaw / 2)}
    cube = {
        "pose": {"position": _vector(x, y, z), "orientation": turned},
        "size": _vector(length, width, height),
        "color": {"r": r, "g": g, "b": b, "a": _OPACITY},
    }
    arrow = {
        "pose": {"position": _vector(x, y, z + height / 2), "orientation": turned},
        "shaft_length": length * 0.5,
        "shaft_diameter": 0.08,
        "head_length": length * 0.15,
        "head_diameter": 0.2,
        "color": {"r": r, "g": g, "b": b, "a": 1.0},
    }
    text = {
        "pose": {"position": _vector(x, y, z + height / 2 + 0.4), "orientation": _NOT_TURNED},
        "billboard": True,
        "font_size": 14.0,
        "scale_invariant": True,
        "color": {"r": r, "g": g, "b": b, "a": 1.0},
        "text": label,
    }
    shapes: dict[str, list[Any]] = {primitive: [] for primitive in _PRIMITIVES}
    shapes |= {"cubes": [cube], "arrows": [arrow], "texts": [text]}
    entity = {"timestamp": at, "frame_id": frame, "id": str(row), "lifetime": _time(0), "frame_locked": False}
    return entity | {"metadata": metadata} | shapes


_NOT_TURNED = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}


def _vector(x: float, y: float, z: float) -> dict[str, float]:
    return {"x": x, "y": y, "z": z}


def _time(nanoseconds: int) -> dict[str, int]:
    return {"sec": nanoseconds // 1_000_000_000, "nsec": nanoseconds % 1_000_000_000}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schema() -> dict[str, Any]:
    """The JSON schema of the messages; Foxglove identifies the message type by its name."""
    number, text, whole = {"type": "number"}, {"type": "string"}, {"type": "integer"}
    flag = {"type": "boolean"}
    time = _object(sec=whole, nsec=whole)
    vector = _object(x=number, y=number, z=number)
    pose = _object(position=vector, orientation=_object(x=number, y=number, z=number, w=number))
    color = _object(r=number, g=number, b=number, a=number)
    known = {
        "cubes": _object(pose=pose, size=vector, color=color),
        "arrows": _object(
            pose=pose,
            shaft_length=number,
            shaft_diameter=number,
            head_length=number,
            head_diameter=number,
            color=color,
        ),
        "texts": _object(pose=pose, billboard=flag, font_size=number, scale_invariant=flag, color=color, text=text),
    }
    shapes = {primitive: _list(known.get(primitive, {"type": "object"})) for primitive in _PRIMITIVES}
    entity = _object(
        timestamp=time,
        frame_id=text,
        id=text,
        lifetime=time,
        frame_locked=flag,
        metadata=_list(_object(key=text, value=text)),
        **shapes,
    )
    deletion = _object(timestamp=time, type=whole, id=text)
    return {"title": SCENE_UPDATE} | _object(deletions=_list(deletion), entities=_list(entity))


SCHEMA = _schema()
