"""Nearest neighbours, voxelisation, non-maximum suppression."""

from functools import partial
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows.row import INSTALL_SPCONV, Row, peer_module
from benchmarks.thread_counts import OURS
from mink_pd.boxes.geometry import bev_corners
from mink_pd.boxes.nms import nms
from mink_pd.models import build_detector
from mink_pd.sparse import knn, voxelise
from mink_pd.sparse.voxels import into_cells

VOXEL = (0.05, 0.05, 0.1)  # SECOND's [m]
ALL_ROUND = (-70.4, -40.0, -3.0, 70.4, 40.0, 1.0)  # SECOND's range, and as much behind the car [m]
POINTS_A_VOXEL, CROWD = 5, 32  # SECOND's; boxes around one object before NMS
IOU = 0.1


def knn_row(inputs: Inputs) -> Pair:
    voxels = build_detector(inputs.config).shared_input(inputs.batch())
    centres, k = voxels.centres(voxels.coordinates, 1), inputs.sizes.neighbours  # (M, 2)

    def peer() -> Tensor:
        return torch.cdist(centres, centres).topk(k, largest=False, sorted=True).indices

    def check() -> None:
        """Compare the distances, because the sides may choose differently among neighbours at equal distances."""
        ours, theirs = ((centres[:, None] - centres[rows]).norm(dim=2) for rows in (knn(centres, centres, k), peer()))
        worst = float((ours - theirs).abs().max())
        assert worst < 0.05, f"a neighbour is {worst:.3f} m farther than the other side's"

    note = f"K {k} of each of {len(centres)} pillars among them"
    return Pair(Side(partial(knn, centres, centres, k), OURS), Side(peer, OURS), check, notes=[note])


def voxelise_row(inputs: Inputs) -> Pair:
    points = torch.from_numpy(inputs.sweep)
    frame = torch.zeros(len(points), dtype=torch.int64)
    ours = partial(into_cells, points, frame, 1, VOXEL, ALL_ROUND, dimensions=3)
    notes = [f"{len(points)} points of a full turn; neither side makes an index of its voxels here"]
    spconv = peer_module("spconv.pytorch.utils")
    if spconv is None:
        return Pair(Side(ours, OURS), None, notes=[*notes, INSTALL_SPCONV])
    generator = spconv.PointToVoxel(list(VOXEL), list(ALL_ROUND), 4, len(points), POINTS_A_VOXEL)

    def check() -> None:
        a, b = ours()[0][:, 1:], generator(points)[1].flip(1)  # (M, 3) x, y, z
        shared = len(set(map(tuple, a.tolist())) & set(map(tuple, b.tolist())))
        assert shared >= 0.97 * max(len(a), len(b)), f"{shared} voxels shared of {len(a)} and {len(b)}"

    notes.append(f"spconv keeps {POINTS_A_VOXEL} points a voxel and runs on one core")
    return Pair(Side(ours, OURS), Side(partial(generator, points), OURS), check, notes=notes)


def voxelise_map_row(inputs: Inputs) -> Pair:
    pair = voxelise_row(inputs)
    points = torch.from_numpy(inputs.sweep)
    frame = torch.zeros(len(points), dtype=torch.int64)

    def ours() -> int:
        voxels = voxelise(points, frame, 1, VOXEL, ALL_ROUND, dimensions=3)
        return voxels.manager.size(voxels.key)  # MinkowskiEngine inserts the map when it is asked about it

    pair.ours = Side(ours, OURS)
    pair.notes[0] = f"{len(points)} points of a full turn; ours ends with a coordinate map, spconv without an index"
    return pair


def crowd(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (B, 7) as NMS receives them from a detector, dozens around each object, and their scores (B,)."""
    rng = np.random.default_rng(0)
    objects = max(1, count // CROWD)
    place = rng.uniform([0, -39, -1, 3.9, 1.6, 1.5, -np.pi], [69, 39, -0.8, 3.9, 1.6, 1.6, np.pi], (objects, 7))
    boxes = np.repeat(place, -(-count // objects), axis=0)[:count]
    boxes += rng.normal(0, [0.4, 0.4, 0.1, 0.1, 0.05, 0.05, 0.1], boxes.shape)
    return boxes, rng.uniform(0.1, 1, count)


def suppress_by_shapely(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Greedy NMS with shapely's polygons and a loop over all pairs."""
    shapely = import_module("shapely")
    polygons = [shapely.Polygon(corners) for corners in bev_corners(boxes)]
    kept: list[int] = []
    rest = list(np.argsort(-scores, kind="stable"))
    while rest:
        first, *others = rest
        kept.append(first)
        rest = []
        for other in others:
            shared = polygons[first].intersection(polygons[other]).area
            if shared <= iou * (polygons[first].area + polygons[other].area - shared):
                rest.append(other)
    return np.array(kept)


def nms_row(inputs: Inputs) -> Pair:
    boxes, scores = crowd(inputs.sizes.boxes)
    ours = partial(nms, boxes, scores, IOU)
    kept = ours()

    def peer() -> None:
        assert np.array_equal(suppress_by_shapely(boxes, scores, IOU), kept), "the sides keep different boxes"

    note = f"{len(boxes)} boxes around {max(1, len(boxes) // CROWD)} objects, {len(kept)} kept; shapely runs once"
    return Pair(Side(ours, OURS), Side(peer, OURS, runs=1), notes=[note])


ROWS = [
    Row("knn", "nearest neighbours on sparse coordinates, K=128", "torch.cdist and topk", 3.0, knn_row),
    Row("voxelise", "voxelisation of 120,000 points", "spconv.utils' point-to-voxel, CPU", 1.5, voxelise_row),
    Row(
        "voxelise-map",
        "the same, with MinkowskiEngine's coordinate map",
        "spconv.utils' point-to-voxel, CPU",
        None,
        voxelise_map_row,
    ),
    Row("nms", "rotated NMS, 4,096 boxes", "shapely polygons and a loop", 100.0, nms_row),
]
