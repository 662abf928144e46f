"""Compression: the student is the teacher's architecture with fewer channels."""

import math


def width(channels: int, compression: float) -> int:
    """Channels divided by sqrt(compression), to the nearest even number, so that parameters fall by ``compression``."""
    return max(2, 2 * round(channels / math.sqrt(compression) / 2))
