"""Random draws that several modules need."""

import numpy as np

Rng = np.random.Generator


def frame_rng(seed: int, frame: int, stream: int = 0) -> Rng:
    """The random generator of one frame. It depends on no other frame, nor on the process that simulates it."""
    return np.random.default_rng([seed, stream, frame])


def normal(rng: Rng, mean: float, deviation: float, spread: float = 2.5) -> float:
    """A normal draw, clipped at ``spread`` standard deviations: no car is 1 m long, no pedestrian 3 m tall."""
    return mean + deviation * float(np.clip(rng.normal(), -spread, spread))
