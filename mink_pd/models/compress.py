"""Compression: a student has the teacher's architecture with fewer channels."""

import math


def width(channels: int, compression: float) -> int:
    """Channels divided by sqrt(compression), rounded to an even number, so that ``compression`` divides parameters."""
    return max(2, 2 * round(channels / math.sqrt(compression) / 2))


def whole_width(channels: int, compression: float) -> int:
    """Channels divided by sqrt(compression) and rounded down, as in PointDistiller's PointRCNN students.

    Their "8x" student divides by 2.8; compression 7.84 gives the same widths.
    """
    return max(1, int(channels / math.sqrt(compression)))
