"""Compression: the student is the teacher's architecture with fewer channels."""

import math


def width(channels: int, compression: float) -> int:
    """Channels divided by sqrt(compression), to the nearest even number, so that parameters fall by ``compression``."""
    return max(2, 2 * round(channels / math.sqrt(compression) / 2))


def whole_width(channels: int, compression: float) -> int:
    """Channels divided by sqrt(compression), rounded down, as PointDistiller's PointRCNN students are.

    Their "8x" divides by 2.8: compression 7.84 gives its widths.
    """
    return max(1, int(channels / math.sqrt(compression)))
