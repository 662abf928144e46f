"""Whether labels mean what is read: other readings of a box's seven numbers, and boxes that are shifted as by a wrong
mounting of the sensor, compared by the points that they hold.

All readings of a box have the same volume, so that the one with the most points is the likeliest.
"""

from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.geometry import pairs_in_boxes

_ABOVE_GROUND = 0.25  # points lower than this over the ground around a box are not counted [m]
_AROUND = 1.5  # the ground is searched for up to this distance around a box [m]
_FEW_POINTS, _FEW_BOXES = 10, 10  # minimum points of a box, and minimum number of such boxes, for a conclusion
_DIFFERS = 0.1  # a smaller difference between two conventions, as a share of a box's points, is ignored
_MAJORITY = 4  # this many times more boxes must support the other convention than contradict it


@dataclass(frozen=True)
class Reading:
    """One way to read the numbers of a box as they are read now.

    sizes: which of the three sizes are length, width and height. quarter: yaw is a quarter turn further, or length and
    width are exchanged. clockwise: yaw turns the other way. bottom: z is that of the bottom face. shift: in x and y, of
    all boxes alike [m].
    """

    sizes: tuple[int, int, int] = (0, 1, 2)
    quarter: bool = False
    clockwise: bool = False
    bottom: bool = False
    shift: tuple[float, float] = (0.0, 0.0)

    def read(self, boxes: np.ndarray) -> np.ndarray:
        """The boxes (B, 7) in this reading."""
        result = boxes.astype(np.float64)
        result[:, 3:6] = boxes[:, [3 + size for size in self.sizes]]
        result[:, 6] = (-1 if self.clockwise else 1) * result[:, 6] + self.quarter * np.pi / 2
        result[:, 2] += self.bottom * result[:, 5] / 2
        result[:, :2] += self.shift
        return result

    @property
    def changes(self) -> int:
        """How many things are read in another way."""
        return (self.sizes != (0, 1, 2)) + self.quarter + self.clockwise + self.bottom + any(self.shift)

    def describe(self, wider: bool) -> str:
        """What is wrong if this is how labels are meant. wider: most boxes are wider than long."""
        quarter = "length and width are exchanged" if wider else "yaw is a quarter turn off"
        order = {(0, 2, 1): "width and height are exchanged", (2, 1, 0): "length and height are exchanged"}
        parts = [order[self.sizes]] if self.sizes in order else []
        parts += [quarter] * self.quarter + ["yaw is counted clockwise"] * self.clockwise
        parts += ["z is that of the bottom face"] * self.bottom
        if any(self.shift):
            forward, left = self.shift
            parts.append(f"all objects lie about {forward:+g} m forward and {left:+g} m to the left of their boxes")
        return " and ".join(parts)


_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # [m]
_EITHER = (False, True)
READINGS = [  # the present one first, then the simpler ones
    Reading(sizes, quarter, clockwise, bottom)
    for sizes in ((0, 1, 2), (0, 2, 1), (2, 1, 0))
    for quarter in _EITHER
    for clockwise in _EITHER
    for bottom in _EITHER
]
READINGS += [Reading(shift=(x, y)) for x in _STEPS for y in _STEPS if x or y]
READINGS.sort(key=lambda reading: reading.changes)


def points_by_reading(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Points (P, 3 or more) above the ground in each reading of the boxes (B, 7): int64 (B, len(READINGS))."""
    counts = np.zeros((len(boxes), len(READINGS)), np.int64)
    surroundings = boxes.astype(np.float64)
    surroundings[:, 3:5] = (np.linalg.norm(boxes[:, 3:6], axis=1) + 2 * _AROUND)[:, None]
    surroundings[:, 5] = 3 * boxes[:, 3:6].max(axis=1) + 2 * _AROUND
    box, point = pairs_in_boxes(points, surroundings)  # (N,) each
    ends = np.searchsorted(box, np.arange(len(boxes) + 1))
    readings = np.stack([reading.read(boxes) for reading in READINGS], axis=1)  # (B, R, 7)
    for row in range(len(boxes)):
        near = points[point[ends[row] : ends[row + 1]], :3]
        if len(near):
            near = near[near[:, 2] > np.percentile(near[:, 2], 5) + _ABOVE_GROUND]
            counts[row] = np.bincount(pairs_in_boxes(near, readings[row])[0], minlength=len(READINGS))
    return counts


def likelier(counts: np.ndarray) -> Reading | None:
    """The reading that fits the points clearly better than the present one; counts: of :func:`points_by_reading`.

    Boxes vote, those in which the two readings differ; of several that win, the one that holds most points.
    """
    most = counts.max(axis=1, initial=0)
    counts, most = counts[most >= _FEW_POINTS], most[most >= _FEW_POINTS]
    if len(counts) < _FEW_BOXES:
        return None
    share = counts / most[:, None]  # (B, R)
    gain = share - share[:, :1]
    wins, losses = (gain > _DIFFERS).sum(axis=0), (gain < -_DIFFERS).sum(axis=0)  # (R,)
    clear = (wins >= _FEW_BOXES) & (wins > _MAJORITY * losses)
    if not clear.any():
        return None
    mean = np.where(clear, share.mean(axis=0), -1)
    return READINGS[int(np.argmax(mean > mean.max() - 0.01))]  # the simplest of those that are as good
