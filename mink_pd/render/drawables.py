"""Layers as Open3D geometries and materials.

Only this module, worker.py and window.py import Open3D, so that everything else works without its libraries.
"""

import numpy as np
import open3d as o3d

from mink_pd.render.scene import Layer, Points

rendering = o3d.visualization.rendering
Geometry = o3d.geometry.PointCloud | o3d.geometry.LineSet


def drawable(layer: Layer, fov: float, scale: float = 1.0) -> tuple[Geometry, rendering.MaterialRecord]:
    """One layer as a geometry and its unlit material.

    fov: vertical angle of view of the camera [degrees].
    scale: factor for sizes in pixels.
    """
    material = rendering.MaterialRecord()
    if isinstance(layer, Points):
        cloud = o3d.geometry.PointCloud(_vectors(layer.positions))
        cloud.colors = _vectors(layer.colours)
        material.shader, material.point_size = "defaultUnlit", layer.size * scale
        return cloud, material
    ends = layer.segments.reshape(-1, 3)
    pairs = np.arange(len(ends), dtype=np.int32).reshape(-1, 2)
    lines = o3d.geometry.LineSet(_vectors(ends), o3d.utility.Vector2iVector(pairs))
    lines.colors = _vectors(np.tile(np.array([layer.colour]), (len(pairs), 1)))
    # Open3D draws lines 1 / (2 tan(fov / 2)) times as wide as specified.
    material.shader = "unlitLine"
    material.line_width = layer.width * scale * 2 * np.tan(np.radians(fov) / 2)
    return lines, material


def _vectors(rows: np.ndarray) -> o3d.utility.Vector3dVector:
    return o3d.utility.Vector3dVector(np.ascontiguousarray(rows, dtype=np.float64).reshape(-1, 3))
