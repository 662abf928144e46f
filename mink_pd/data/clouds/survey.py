"""What labelled frames hold: objects and the points in them, intensities, and what looks wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.data.clouds.conventions import likelier, points_by_reading
from mink_pd.data.frame import Frame

_VOTERS = 300  # boxes of a class whose other readings are looked at
_FEWEST, _WIDER = 10, 1.2  # boxes of a class from which sizes say something; width over length that is odd
_WITHOUT_POINTS, _FEWEST_EMPTY = 0.05, 3  # share and number of a class's boxes that are odd
_LARGEST, _SMALLEST = 50.0, 0.05  # a class's median longest edge beyond these is odd [m]
_SAME = 0.1  # boxes of a class whose centres are as near are of the same object [m]
_DIM = 0.02  # of the full scale: a brightest return below it is odd


@dataclass(frozen=True)
class Survey:
    """B objects in F frames.

    boxes: (B, 7). names: (B,). inside: int64 (B,), points in the box. again: bool (B,), another box of the class is in
    the same place. returns: int64 (F,), points of each frame.
    intensity: (at most F, 3), of each frame with points the least, that below which 99.9 % of the points are, and the
    largest [0..1]. readings: name -> counts of :func:`points_by_reading` for some of its boxes.
    """

    boxes: np.ndarray
    names: np.ndarray
    inside: np.ndarray
    again: np.ndarray
    returns: np.ndarray
    intensity: np.ndarray
    readings: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.returns)

    def of(self, name: str) -> np.ndarray:
        """Which objects are of a class: bool (B,)."""
        return self.names == name


def survey(frames: Iterable[Frame]) -> Survey:
    """Look at frames one after the other."""
    boxes, names, inside, returns, intensity = [np.zeros((0, 7))], [np.zeros(0, np.str_)], [], [], []
    again = [np.zeros(0, bool)]
    readings: dict[str, list[np.ndarray]] = {}
    for frame in frames:
        boxes.append(frame.boxes)
        names.append(frame.names)
        inside.append(np.bincount(pairs_in_boxes(frame.points, frame.boxes)[0], minlength=len(frame.boxes)))
        again.append(_again(frame.boxes, frame.names))
        returns.append(len(frame.points))
        if len(frame.points):
            intensity.append(np.percentile(frame.points[:, 3], (0, 99.9, 100)))
        for name in np.unique(frame.names):
            seen = readings.setdefault(str(name), [])
            if sum(map(len, seen)) < _VOTERS:
                seen.append(points_by_reading(frame.points, frame.boxes[frame.names == name]))
    return Survey(
        boxes=np.concatenate(boxes),
        names=np.concatenate(names),
        inside=np.concatenate([np.zeros(0, np.int64), *inside]),
        again=np.concatenate(again),
        returns=np.array(returns, np.int64),
        intensity=np.array(intensity).reshape(-1, 3),
        readings={name: np.concatenate(counts) for name, counts in readings.items()},
    )


def suspicions(found: Survey, measured: bool = True) -> list[str]:
    """What looks like a mistake in labels or settings, a sentence each. measured: the sensor measures intensities."""
    if not len(found.boxes):
        return ["No frame holds an object: are the labels where they are looked for?"]
    if not found.returns.any():
        return ["No frame holds a point: are the clouds whole, and does data.dtype fit them?"]
    wrong_units = [*_sizes(found), *_yaws(found)]  # after which no convention fits
    conventions = [] if wrong_units else _swapped(found)
    intensity = _intensity(found) if measured else []
    return [*_without_points(found), *_twice(found), *wrong_units, *conventions, *intensity]


def _again(boxes: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Which boxes (B, 7) of a frame have their centre where an earlier one of their class has it: bool (B,)."""
    distance = np.linalg.norm(boxes[:, None, :3] - boxes[None, :, :3], axis=2)  # (B, B)
    same = (distance < _SAME) & (names[:, None] == names[None, :])
    return np.asarray(np.tril(same, k=-1).any(axis=1))


def wider_than_long(boxes: np.ndarray) -> bool:
    """Whether most of the boxes (B, 7) of a class, if they are enough, are clearly wider than long."""
    length, width = boxes[:, 3:5].T
    return len(boxes) >= _FEWEST and bool(np.mean(width > _WIDER * length) > 0.5)


def _without_points(found: Survey) -> list[str]:
    lines = []
    for name in np.unique(found.names):
        empty = found.inside[found.of(name)] == 0
        if empty.sum() >= _FEWEST_EMPTY and empty.mean() > _WITHOUT_POINTS:
            lines.append(
                f"{name}: {empty.sum()} of {len(empty)} boxes hold no point. They teach nothing; check the labels'"
                " frame of reference and their z, or leave out what the sensor cannot see."
            )
    return lines


def _twice(found: Survey) -> list[str]:
    lines = []
    for name in np.unique(found.names):
        again = found.again[found.of(name)]
        if again.sum() >= _FEWEST_EMPTY and again.mean() > _WITHOUT_POINTS:
            lines.append(
                f"{name}: {again.sum()} of {len(again)} boxes lie where another one does; label each object once."
            )
    return lines


def _sizes(found: Survey) -> list[str]:
    lines = []
    for name in np.unique(found.names):
        size = np.median(found.boxes[found.of(name), 3:6], axis=0)
        if not _SMALLEST < size.max() < _LARGEST:
            text = " x ".join(f"{edge:.3g}" for edge in size)
            lines.append(f"{name}: the median size is {text} m; are sizes in metres?")
    return lines


def _swapped(found: Survey) -> list[str]:
    """Other conventions that fit the points better, with the classes that say so; else lengths shorter than widths."""
    by_text: dict[tuple[str, str], list[str]] = {}
    for name, counts in found.readings.items():
        boxes = found.boxes[found.of(name)]
        wider, reading = wider_than_long(boxes), likelier(counts)
        if reading is not None:
            text, end = f"the points in and near the boxes say that {reading.describe(wider)}", "; correct the labels."
        elif wider:
            length, width = np.median(boxes[:, 3:5], axis=0)
            text = f"most boxes are wider than long (median length {length:.2f} m, width {width:.2f} m)"
            end = ": are length and width exchanged?"
        else:
            continue
        by_text.setdefault((text, end), []).append(name)
    return [f"{', '.join(names)}: {text}{end}" for (text, end), names in by_text.items()]


def _yaws(found: Survey) -> list[str]:
    yaw = np.abs(found.boxes[:, 6])
    if (yaw > 2 * np.pi + 1e-3).any():
        return ["Some yaws are beyond a full turn: are they in degrees?"]
    if len(yaw) >= _FEWEST and 0 < yaw.max() < np.radians(np.pi) and len(np.unique(yaw)) > _FEWEST / 2:
        return [f"All yaws are within {np.degrees(yaw.max()):.1f} degrees: are they radians that are read as degrees?"]
    return []


def _intensity(found: Survey) -> list[str]:
    if not len(found.intensity):
        return []
    low, high = found.intensity[:, 0].min(), found.intensity[:, 2].max()
    if low == high:
        return [f"The intensity is {high:g} at every point and carries no information; set intensity: none."]
    if found.intensity[:, 1].max() < _DIM:
        return [f"Nearly all points have less than {_DIM:g} of the full scale: is the setting intensity right?"]
    return []
