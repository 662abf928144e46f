"""Places in the frame of a box, as tensors: the one test of a point in a rotated box that autograd and GPUs see.

The compiled tests of :mod:`mink_pd.boxes.geometry` and of the native operators do the same for many points at a time.
"""

import torch
from torch import Tensor


def box_offsets(positions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of positions (..., 2 or more) from the centres of boxes (..., 7), along their length and across it [m].

    The leading dimensions are broadcast: positions (n, 1, 2) and boxes (B, 7) give two tensors (n, B), both >= 0. Seen
    from above, a position is inside a box if they are at most half its length and half its width.
    """
    x, y = positions[..., 0] - boxes[..., 0], positions[..., 1] - boxes[..., 1]
    cos, sin = torch.cos(boxes[..., 6]), torch.sin(boxes[..., 6])
    return (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
