"""All that touches MinkowskiEngine: voxels on shared coordinate maps, sparse layers, nearest neighbours."""

from mink_pd.native.operators import multiplies_bf16
from mink_pd.sparse.conv import SparseConv
from mink_pd.sparse.knn import knn
from mink_pd.sparse.layers import ConvBlock, with_features
from mink_pd.sparse.minkowski import ME
from mink_pd.sparse.pooling import segment_linear_max, segment_max, segment_mean
from mink_pd.sparse.rows import linear_and_rows, some_rows, twice
from mink_pd.sparse.sites import Bounds, holding, on_sites, reached_sites, seen_from_above, strided_sites
from mink_pd.sparse.voxels import Voxels, voxelise

__all__ = [
    "ME",
    "Bounds",
    "ConvBlock",
    "SparseConv",
    "Voxels",
    "holding",
    "knn",
    "linear_and_rows",
    "multiplies_bf16",
    "on_sites",
    "reached_sites",
    "seen_from_above",
    "segment_linear_max",
    "segment_max",
    "segment_mean",
    "some_rows",
    "strided_sites",
    "twice",
    "voxelise",
    "with_features",
]
