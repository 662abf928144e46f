"""The content of a picture as plain arrays: points and lines in the LiDAR frame, independent of a graphics library."""

from dataclasses import dataclass, field, replace

import numpy as np

from mink_pd.render.colours import BACKGROUND

Colour = tuple[float, float, float]


@dataclass
class Points:
    """Points: positions (P, 3) [m], colours (P, 3) in [0, 1], size [px]."""

    positions: np.ndarray
    colours: np.ndarray
    size: float = 2.0


@dataclass
class Lines:
    """Line segments (S, 2, 3) from end to end [m], in one colour in [0, 1] and one width [px]."""

    segments: np.ndarray
    colour: Colour
    width: float = 3.0


Layer = Points | Lines


@dataclass
class Scene:
    """Layers on a background. ``scene += layer`` or ``scene += [layer, ...]`` adds layers."""

    layers: list[Layer] = field(default_factory=list)
    background: Colour = BACKGROUND

    def __iadd__(self, layers: "list[Layer] | Layer") -> "Scene":
        self.layers += layers if isinstance(layers, list) else [layers]
        return self

    def moved(self, shift: np.ndarray) -> "Scene":
        """The same scene moved by ``shift`` (3,) [m]."""
        layers: list[Layer] = []
        for layer in self.layers:
            if isinstance(layer, Points):
                layers.append(replace(layer, positions=layer.positions + shift))
            else:
                layers.append(replace(layer, segments=layer.segments + shift))
        return Scene(layers, self.background)
