"""Point cloud files: one module per format, each from bytes to named columns.

Every reader checks the claims of the header against the size of the file before it allocates anything.
"""

from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.data.formats import arrays, las, pcd, ply, rows
from mink_pd.errors import DataError
from mink_pd.files import read_bytes

SUFFIXES = (".bin", ".npy", ".npz", ".pcd", ".ply", ".las", ".laz")
LARGEST = 1 << 30  # largest file [bytes]; a turn of a 128-beam LiDAR has about 10 MB
Columns = dict[str, np.ndarray]  # name in lower case -> (P,) in the file's type


def read_columns(path: Path, settings: PointsConfig) -> Columns:
    """The columns of a point cloud file, all of equal length. Raises DataError that names the file."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown format of point clouds; convert it to {', '.join(SUFFIXES)}")
    content = read_bytes(path, remedy="give the path of a point cloud", limit=LARGEST)
    match suffix:
        case ".bin":
            return rows.read(content, path, settings)
        case ".npy" | ".npz":
            return arrays.read(content, path, settings)
        case ".pcd":
            return pcd.read(content, path)
        case ".ply":
            return ply.read(content, path)
        case _:
            return las.read(content, path)
