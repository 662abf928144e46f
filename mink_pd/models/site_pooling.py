"""Values of sites carried to the sites of another stride."""

import torch
from torch import Tensor

from mink_pd.sparse.voxels import encode_cells, find_codes


def pool(values: Tensor, source: Tensor, source_stride: int, target: Tensor, target_stride: int, how: str) -> Tensor:
    """Carry values (S,) at sites ``source`` (S, 1 + D) to sites ``target`` (M, 1 + D) of another stride.

    Values in the same cell of the coarser stride are reduced by ``how`` (sum, amax). A target without a value gets 0.
    """
    stride = 1 if source_stride == target_stride else max(source_stride, target_stride)  # equal ones need no rounding
    codes = cell_codes(torch.cat([source, target]), stride)
    own, wanted = codes[: len(source)], codes[len(source) :]
    if ascends(own):  # each source in a cell of its own
        index, joined = find_codes(own, wanted), values
    elif ascends(wanted):
        group = find_codes(wanted, own)
        met = group >= 0
        return values.new_zeros(len(target)).scatter_reduce(0, group[met], values[met], how, include_self=False)
    else:
        have, group = torch.unique(own, return_inverse=True)
        joined = values.new_zeros(len(have)).scatter_reduce(0, group, values, how, include_self=False)
        index = find_codes(have, wanted)
    return torch.where(index >= 0, joined[index], 0)


def ascends(codes: Tensor) -> bool:
    """Whether codes (M,), one or more, are sorted and each there once, as those of a coordinate map are on the CPU."""
    return len(codes) > 0 and bool((codes[1:] > codes[:-1]).all())


def cell_codes(coordinates: Tensor, stride: int) -> Tensor:
    """One number (M,) int64 for the cell of edge ``stride`` that contains each coordinate (M, 1 + D) >= 0."""
    cells = coordinates.long()
    if stride > 1:
        cells[:, 1:] = torch.div(cells[:, 1:], stride, rounding_mode="floor")
    return encode_cells(cells, (cells.amax(dim=0) + 1).tolist() if len(cells) else [1] * cells.shape[1])
