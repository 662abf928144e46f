"""Draws that several modules need."""

import numpy as np

Rng = np.random.Generator


def frame_rng(seed: int, frame: int, stream: int = 0) -> Rng:
    """The generator of one frame: the same bytes whatever other frames are made, and by whom."""
    return np.random.default_rng([seed, stream, frame])


def normal(rng: Rng, mean: float, deviation: float, spread: float = 2.5) -> float:
    """A normal draw, cut off at ``spread`` standard deviations: no car of 1 m, no pedestrian of 3 m."""
    return mean + deviation * float(np.clip(rng.normal(), -spread, spread))
