"""Which part of the surroundings a picture shows, and from where."""

import numpy as np

from mink_pd.data import View
from mink_pd.render.camera import Camera, fit_camera
from mink_pd.render.shapes import ahead

_NARROW = 6.0  # vertical angle of view from above [degrees]; so small that there is hardly any perspective


class Outlook:
    """The part of the surroundings that pictures of a data set show, and the direction they show it from."""

    def __init__(self, view: View) -> None:
        self.all_around, self.front = view.all_around, view.front

    def points(self, points: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Mask (P,) of the points (P, 3 or more) to draw in a picture that must show the targets (T, 3)."""
        return np.ones(len(points), dtype=bool) if self.all_around else ahead(points, targets)

    def camera(self, targets: np.ndarray, size: tuple[int, int], elevation: float) -> Camera:
        """The nearest camera that sees the targets (T, 3) [m] in a picture of ``size``. It looks straight down if the
        data set covers all directions, else downwards by ``elevation`` [degrees]."""
        return self.above(targets, size) if self.all_around else fit_camera(targets, size, elevation, self.front)

    def above(self, targets: np.ndarray, size: tuple[int, int]) -> Camera:
        """The nearest camera straight above that sees the targets, with the vehicle's front at the top."""
        return fit_camera(targets, size, elevation=90, azimuth=self.front, fov=_NARROW)


AHEAD = Outlook(View())
