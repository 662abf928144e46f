"""Which part of the surroundings a picture shows, and from where."""

import numpy as np

from mink_pd.data import View
from mink_pd.render.camera import Camera, fit_camera
from mink_pd.render.shapes import ahead

_NARROW = 6.0  # vertical angle of view from above [degrees]: hardly any perspective


class Outlook:
    """What a picture of a data set's frames shows, and from where."""

    def __init__(self, view: View) -> None:
        self.all_around, self.front = view.all_around, view.front

    def points(self, points: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Which points (P, 3 or more) to draw, bool (P,), where the picture must show the targets (T, 3)."""
        return np.ones(len(points), dtype=bool) if self.all_around else ahead(points, targets)

    def camera(self, targets: np.ndarray, size: tuple[int, int], elevation: float) -> Camera:
        """The nearest camera that sees the targets (T, 3) [m] in a picture of ``size``; from straight above where all
        around is shown, else looking down by ``elevation`` [degrees]."""
        return self.above(targets, size) if self.all_around else fit_camera(targets, size, elevation, self.front)

    def above(self, targets: np.ndarray, size: tuple[int, int]) -> Camera:
        """The same from straight above, the vehicle's front up."""
        return fit_camera(targets, size, elevation=90, azimuth=self.front, fov=_NARROW)


AHEAD = Outlook(View())
