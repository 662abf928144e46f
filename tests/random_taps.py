"""Random features of a teacher and a student on one coordinate map, without any detector."""

import numpy as np
import torch
from torch import Tensor

from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.distill.pairs import TapPair
from mink_pd.models.heads.box_layout import BoxLayout
from mink_pd.models.taps import SiteTap
from mink_pd.sparse import voxelise

CLASSES = ["Car", "Pedestrian", "Cyclist"]
RANGE = (0.0, -3.2, -3.0, 6.4, 3.2, 1.0)
ANCHORS = 6
LAYOUT = BoxLayout(tuple(torch.arange(ANCHORS).repeat_interleave(3).tolist()), (0.0,) * 7, (1.0,) * 7, angle=6)


def random_batch(*sizes: int, seed: int = 0) -> Batch:
    """Frames of so many random points, each with a car and a pedestrian."""
    random = np.random.default_rng(seed)
    boxes = np.array([[3.0, 0.5, -1.0, 3.9, 1.6, 1.5, 0.3], [1.2, -2.0, -1.0, 0.8, 0.6, 1.7, 2.0]])
    clouds = [random.uniform([0, -3.2, -3, 0], [6.4, 3.2, 1, 1], (n, 4)).astype(np.float32) for n in sizes]
    frames = [Frame(str(i), cloud, boxes, np.array(["Car", "Pedestrian"])) for i, cloud in enumerate(clouds)]
    return collate(frames, CLASSES)


class RandomTaps:
    """Pairs of taps on the pillars of a batch; the teacher also has ``scores`` and ``boxes``, as a head gives them."""

    def __init__(self, *sizes: int, size: float = 0.4) -> None:
        self.batch = random_batch(*sizes)
        self.voxels = voxelise(self.batch.points, self.batch.frame, len(sizes), (size, size, 4.0), RANGE, 2)
        torch.manual_seed(0)
        self.guide = {
            "scores": self.tap(torch.randn(len(self.voxels), ANCHORS * len(CLASSES))),
            "boxes": self.tap(0.3 * torch.randn(len(self.voxels), ANCHORS * 7)),
        }

    def tap(self, features: Tensor) -> SiteTap:
        return SiteTap(self.voxels.tensor(features), self.voxels)

    def features(self, theirs: int, ours: int) -> TapPair:
        """Features behind a ReLU."""
        rows = len(self.voxels)
        student = torch.randn(rows, ours).relu_()
        pair = TapPair("bev", self.tap(torch.randn(rows, theirs).relu_()), self.tap(student), self.guide, self.batch)
        pair.guide["bev"] = pair.teacher
        return pair

    def head(self, name: str) -> TapPair:
        """An output of the head, ``scores`` or ``boxes``."""
        theirs = self.guide[name]
        ours = theirs.features + 0.2 * torch.randn_like(theirs.features)
        return TapPair(name, theirs, self.tap(ours), self.guide, self.batch)


def best_rows(values: Tensor, frame: Tensor, index: int, rows: int) -> list[int]:
    """The highest rows of one frame, by sorting."""
    here = [i for i in range(len(frame)) if int(frame[i]) == index]
    return sorted(here, key=lambda i: -float(values[i]))[:rows]
