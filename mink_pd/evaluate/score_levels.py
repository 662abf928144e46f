"""The score from which a detector's boxes can be trusted, by their precision on labelled frames."""

import math
from collections.abc import Sequence

import numpy as np

from mink_pd.data.frame import Frame
from mink_pd.detect.predict import FrameDetections
from mink_pd.evaluate.best_first import PossibleMatches, Ranking, best_first, match_best_first
from mink_pd.evaluate.overlaps import OVERLAPS, pair_boxes


def rank_boxes(frames: Sequence[Frame], found: Sequence[FrameDetections], name: str, min_iou: float) -> Ranking:
    """The boxes of class ``name`` by falling score, each right or wrong.

    A box is right if it overlaps a labelled object of its class, which no box of higher score has taken, from above by
    an IoU of ``min_iou`` or more; of several objects it takes the one it overlaps most.
    """
    labels = [frame.boxes[frame.names == name] for frame in frames]
    boxes = [each.boxes[each.names == name] for each in found]
    scores = np.concatenate([np.zeros(0), *(each.scores[each.names == name] for each in found)])  # (D,)
    label_first, first = (np.cumsum([0, *map(len, rows)]) for rows in (labels, boxes))
    truth, own = (np.concatenate([np.zeros((0, 7)), *each]).astype(np.float64) for each in (labels, boxes))
    pairs = pair_boxes(truth, own, label_first, first)
    overlap = pairs.overlap[OVERLAPS.index("bev")]
    fits = overlap >= min_iou
    turns = best_first(scores)
    chosen = PossibleMatches(pairs.label[fits], pairs.detection[fits], overlap[fits])
    match = match_best_first(chosen, turns, np.ones(len(truth), dtype=bool))
    return Ranking(scores[turns], match[turns] >= 0, len(truth))


def level_of_precision(ranking: Ranking, precision: float) -> float:
    """The lowest score from which on at least that share of the boxes is right.

    inf where there is none, -inf where all boxes together have the precision.
    """
    right, total, scores = ranking.curve()
    enough = np.flatnonzero(right / total >= precision)
    if not len(enough):
        return math.inf
    return -math.inf if enough[-1] == len(total) - 1 else float(scores[enough[-1]])
