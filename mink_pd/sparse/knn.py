"""Nearest neighbours among sparse coordinates."""

import numpy as np
import torch
from torch import Tensor

from mink_pd.native.operators import operators


def knn(queries: Tensor, references: Tensor, k: int) -> Tensor:
    """Rows (Q, min(k, R)) int64 of the nearest references (R, D) of each query (Q, D), nearest first.

    Coordinates are metric, so that anisotropic voxels count rightly. A query that is a reference finds itself first.
    On the CPU in 2 or 3 dimensions compiled code (``csrc/core/knn.cpp``) finds them, equally near ones in the order
    of their rows. Without it a k-d tree does; other devices and features (D > 3) take all distances and a partial
    sort. There equally near ones come in any order: which of them are among the k may differ between a CPU and a GPU.
    """
    k = min(k, len(references))
    if queries.is_cuda or queries.shape[1] > 3:
        exact = "donot_use_mm_for_euclid_dist"  # the fast form's rounding can put another row before the row itself
        distances = (torch.cdist(chunk, references, compute_mode=exact) for chunk in queries.split(4096))
        return torch.cat([chunk.topk(k, largest=False).indices for chunk in distances])
    fast = queries.dtype == references.dtype == torch.float32 and queries.shape[1] > 1
    if fast and (compiled := operators()):
        return compiled.nearest(queries.contiguous(), references.contiguous(), k)
    from scipy.spatial import cKDTree  # half a second, which most programs never need

    tree = cKDTree(references.numpy(), compact_nodes=False, balanced_tree=False)
    _, rows = tree.query(queries.numpy(), k=np.arange(1, k + 1), workers=1 if len(queries) < 1000 else -1)
    return torch.from_numpy(rows)
