"""KITTI's greedy matching of labels and detections, and the outcomes of single frames for viewers.

Labels choose in file order, whether they are counted or ignored. Each takes at most one free detection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mink_pd.data.objects import Objects
from mink_pd.evaluate.candidates import Candidates, Scene, collect
from mink_pd.evaluate.rules import (
    COUNTED,
    MIN_IOU,
    SMALL,
    UNUSED,
    VALID,
    detection_roles,
    label_roles,
    level_of,
)
from mink_pd.jit import njit


@dataclass
class Task:
    """One class, level and kind of overlap, as flat arrays for the compiled loops."""

    candidates: Candidates
    label_role: np.ndarray  # (G,) int8
    detection_role: np.ndarray  # (D,) int8
    score: np.ndarray  # (D,)
    excused: np.ndarray  # (D,) bool: never a false positive because it lies in a DontCare region
    similarity: np.ndarray  # (N,) of each candidate: (1 + cos(difference of alpha)) / 2

    @property
    def counted(self) -> int:
        """Number of counted labels, the denominator of recall."""
        return int(np.count_nonzero(self.label_role == COUNTED))


def make_task(scene: Scene, name: str, level: str, overlap: str, iou: float) -> Task:
    """Roles and candidates of a class at a level; candidates overlap ("bbox", "bev" or "3d") by more than ``iou``."""
    limits = level_of(level)
    candidates = scene.candidates(overlap, iou)
    label = np.repeat(np.arange(len(scene.labels)), np.diff(candidates.first))  # (N,)
    turn = scene.labels.alpha[label] - scene.detections.alpha[candidates.detection]  # (N,) [rad]
    # DontCare rows have only an image box, so they excuse no detection in bird's-eye view or 3D.
    excused = scene.dont_care > iou if overlap == "bbox" else np.zeros(len(scene.detections), dtype=bool)
    return Task(
        candidates=candidates,
        label_role=label_roles(scene.labels, name, limits, scene.image_rules),
        detection_role=detection_roles(scene.detections, name, limits, scene.image_rules),
        score=scene.score,
        excused=excused,
        similarity=(1 + np.cos(turn)) / 2,
    )


def found_scores(task: Task) -> np.ndarray:
    """Falling scores at which counted labels are found without a score cut (the official first pass)."""
    c = task.candidates
    scores = _match_by_score(c.first, c.detection, task.label_role, task.detection_role, task.score)
    return -np.sort(-scores)


def count(task: Task, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The official second pass at each of the score cuts (K,), without the detections below the cut.

    Returns true positives, false positives, and the sum of orientation similarity over the true positives, each float64
    (K,).
    """
    c = task.candidates
    return _count(
        c.first,
        c.detection,
        c.overlap,
        task.label_role,
        task.detection_role,
        task.score,
        task.excused,
        task.similarity,
        np.ascontiguousarray(cuts, dtype=np.float64),
    )


@dataclass
class FrameMatch:
    """The outcomes of one frame's detections and labels at a score cut. Rows without a flag are not judged."""

    true_positive: np.ndarray  # (D,) bool, of detections
    false_positive: np.ndarray  # (D,) bool, of detections
    found: np.ndarray  # (G,) bool, of labels
    missed: np.ndarray  # (G,) bool, of labels
    label: np.ndarray  # (D,) int64, the label that a true positive found, else -1


def match_frame(
    labels: Objects,
    detections: Objects,
    score: float | Mapping[str, float],
    iou: Mapping[str, float] = MIN_IOU,
    level: str = "moderate",
    overlap: str = "3d",
    image_rules: bool = True,
) -> FrameMatch:
    """Judge the rows of one frame by the evaluator's rules.

    score: the cut for all classes, or by class. A detection at the cut stays. A class that a mapping lacks has no
    detection.
    iou: the classes to judge, and the overlap that a match must exceed. Rows of other classes, outside the level's
    limits or below the cut get no flag.
    """
    scene = collect({"frame": labels}, {"frame": detections}, image_rules)
    result = FrameMatch(
        true_positive=np.zeros(len(detections), dtype=bool),
        false_positive=np.zeros(len(detections), dtype=bool),
        found=np.zeros(len(labels), dtype=bool),
        missed=np.zeros(len(labels), dtype=bool),
        label=np.full(len(detections), -1, dtype=np.int64),
    )
    for name, threshold in iou.items():
        cut = score.get(name, np.inf) if isinstance(score, Mapping) else score
        task = make_task(scene, name, level, overlap, threshold)
        match, taken = _assign(task, cut)
        counted = task.label_role == COUNTED
        hits = np.nonzero(counted & (match >= 0))[0]
        hits = hits[task.detection_role[match[hits]] == VALID]
        result.found[hits] = True
        result.missed |= counted & (match < 0)
        result.true_positive[match[hits]] = True
        result.label[match[hits]] = hits
        valid = (task.detection_role == VALID) & (task.score >= cut)
        result.false_positive |= valid & ~taken & ~task.excused
    return result


def _assign(task: Task, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """The detection that each label takes (G,), -1: none; and a mask (D,) of the detections that are taken."""
    c = task.candidates
    match, taken = _match_by_overlap(
        c.first, c.detection, c.overlap, task.label_role, task.detection_role, task.score, float(cut)
    )
    detection = np.full(len(match), -1, dtype=np.int64)
    detection[match >= 0] = c.detection[match[match >= 0]]
    return detection, taken


@njit()
def _match_by_score(
    first: np.ndarray, detection: np.ndarray, label_role: np.ndarray, detection_role: np.ndarray, score: np.ndarray
) -> np.ndarray:
    """Let each label take its candidate of highest score; returns the scores of valid detections on counted labels."""
    taken = np.zeros(len(score), dtype=np.bool_)
    listed = np.empty(len(label_role))
    n = 0
    for g in range(len(label_role)):
        if label_role[g] == UNUSED:
            continue
        best = -1
        for k in range(first[g], first[g + 1]):
            d = detection[k]
            if taken[d] or detection_role[d] == UNUSED:
                continue
            if best < 0 or score[d] > score[best]:
                best = d
        if best < 0:
            continue
        taken[best] = True
        if label_role[g] == COUNTED and detection_role[best] == VALID:
            listed[n] = score[best]
            n += 1
    return listed[:n]


@njit()
def _match_by_overlap(
    first: np.ndarray,
    detection: np.ndarray,
    overlap: np.ndarray,
    label_role: np.ndarray,
    detection_role: np.ndarray,
    score: np.ndarray,
    cut: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Let each label take its valid candidate of largest overlap, or else its first small candidate.

    Returns the candidate that each label took (G,) int64, -1: none; and a mask (D,) of the detections that are taken.
    """
    taken = np.zeros(len(score), dtype=np.bool_)
    match = np.full(len(label_role), -1, dtype=np.int64)
    for g in range(len(label_role)):
        if label_role[g] == UNUSED:
            continue
        best, small = -1, -1
        for k in range(first[g], first[g + 1]):
            d = detection[k]
            if taken[d] or score[d] < cut:
                continue
            if detection_role[d] == VALID and (best < 0 or overlap[k] > overlap[best]):
                best = k
            elif detection_role[d] == SMALL and small < 0:
                small = k
        match[g] = best if best >= 0 else small
        if match[g] >= 0:
            taken[detection[match[g]]] = True
    return match, taken


@njit()
def _count(
    first: np.ndarray,
    detection: np.ndarray,
    overlap: np.ndarray,
    label_role: np.ndarray,
    detection_role: np.ndarray,
    score: np.ndarray,
    excused: np.ndarray,
    similarity: np.ndarray,
    cuts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true_positives, false_positives, alike = np.zeros(len(cuts)), np.zeros(len(cuts)), np.zeros(len(cuts))
    for i in range(len(cuts)):
        match, taken = _match_by_overlap(first, detection, overlap, label_role, detection_role, score, cuts[i])
        for g in range(len(label_role)):
            k = match[g]
            if k >= 0 and label_role[g] == COUNTED and detection_role[detection[k]] == VALID:
                true_positives[i] += 1
                alike[i] += similarity[k]
        for d in range(len(score)):
            if detection_role[d] == VALID and score[d] >= cuts[i] and not taken[d] and not excused[d]:
                false_positives[i] += 1
    return true_positives, false_positives, alike
