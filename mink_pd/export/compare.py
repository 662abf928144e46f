"""Compares two lists of detections that must be equal, except where rounding decides."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mink_pd.boxes.iou import bev_iou
from mink_pd.config.models import NMSConfig
from mink_pd.models.detector import Detections

BOX, SCORE = 1e-3, 1e-4  # largest allowed differences of a box [m or rad] and of a score
_NEAR_IOU = 1e-3  # an overlap this close to the threshold of suppression may fall on either side of it
_FAR = 10.0  # at this multiple of the largest allowed difference, two boxes are different detections
_BEV = [0, 1, 3, 4, 6]


@dataclass
class Agreement:
    """The result of comparing two lists of detections."""

    pairs: int = 0  # detections in both lists
    missing: int = 0  # detections in only one list
    edge: int = 0  # those in only one list because a score or overlap lies on a threshold, up to rounding
    box: float = 0.0  # largest difference of a pair's boxes [m or rad]
    score: float = 0.0  # largest difference of a pair's scores
    slack: float = 1.0  # by which the allowed differences are multiplied

    @property
    def same(self) -> bool:
        return self.missing == 0 and self.box <= BOX * self.slack and self.score <= SCORE * self.slack

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.pairs + other.pairs, self.missing + other.missing, self.edge + other.edge,
            max(self.box, other.box), max(self.score, other.score), max(self.slack, other.slack),
        )  # fmt: skip


def compare_detections(ours: Detections, theirs: Detections, nms: NMSConfig, slack: float = 1.0) -> Agreement:
    """Pair the detections of one frame by class and nearest box, and classify the remaining ones."""
    result = Agreement(slack=slack)
    alone = [torch.ones(len(one.boxes), dtype=torch.bool) for one in (ours, theirs)]
    distance = box_distance(ours.boxes[:, None], theirs.boxes[None])  # (A, B)
    apart = (ours.scores[:, None] - theirs.scores[None]).abs()  # (A, B)
    cost = (torch.maximum(distance / BOX, apart / SCORE) / slack).clamp(max=_FAR)  # 1 is the largest allowed
    cost[ours.labels[:, None] != theirs.labels[None]] = _FAR
    for row, column in zip(*linear_sum_assignment(cost.numpy()), strict=True):
        if cost[row, column] < _FAR:
            result.pairs += 1
            result.box = max(result.box, float(distance[row, column]))
            result.score = max(result.score, float(apart[row, column]))
            alone[0][row] = alone[1][column] = False
    result.edge, result.missing = _explained((ours, theirs), alone, nms, slack)
    return result


def box_distance(a: Tensor, b: Tensor) -> Tensor:
    """Largest difference (...) over the columns of boxes (..., 7); angles modulo a whole turn."""
    difference = (a - b).abs()
    turn = difference[..., 6] % (2 * math.pi)
    return torch.maximum(difference[..., :6].amax(dim=-1), torch.minimum(turn, 2 * math.pi - turn))


def _explained(
    lists: tuple[Detections, Detections], alone: list[Tensor], nms: NMSConfig, slack: float
) -> tuple[int, int]:
    """Of the detections in only one list, the number that rounding explains and the number that it does not.

    A detection is explained if its score or an overlap lies on a threshold, or if an explained detection of the other
    list suppresses it.
    """
    open_rows = [(side, row) for side in (0, 1) for row in alone[side].nonzero().flatten().tolist()]
    explained: set[tuple[int, int]] = set()
    while True:
        more = {
            (side, row)
            for side, row in open_rows
            if (side, row) not in explained
            and _on_edge(lists[side], row, lists[1 - side], {k for s, k in explained if s != side}, nms, slack)
        }
        if not more:
            return len(explained), len(open_rows) - len(explained)
        explained |= more


def _on_edge(one: Detections, row: int, other: Detections, explained: set[int], nms: NMSConfig, slack: float) -> bool:
    """Whether rounding explains that ``other`` lacks detection ``row`` of ``one``. explained: rows of ``other`` that
    rounding explains."""
    score = float(one.scores[row])
    if abs(score - nms.score) <= SCORE * slack:
        return True
    if len(other.scores) == nms.after and score <= float(other.scores[-1]) + SCORE * slack:
        return True
    rows = (other.labels == one.labels[row]).nonzero().flatten()
    box, boxes = (x.double().numpy()[:, _BEV] for x in (one.boxes[row : row + 1], other.boxes[rows]))
    overlap = bev_iou(box, boxes)[0] if len(rows) else np.zeros(0)
    if np.any(np.abs(overlap - nms.iou) <= _NEAR_IOU * slack):
        return True
    return any(shared > nms.iou and int(k) in explained for shared, k in zip(overlap, rows, strict=True))
