"""All frames of an evaluation in flat arrays, so that matching needs only one loop over labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mink_pd.data.kitti.labels import DONT_CARE
from mink_pd.data.objects import Objects
from mink_pd.errors import DataError
from mink_pd.evaluate.overlaps import OVERLAPS, Pairs, dont_care_share, pair_up
from mink_pd.evaluate.rules import is_named


@dataclass
class Candidates:
    """N pairs of a label and a detection that overlap enough, ordered by label and then by detection."""

    first: np.ndarray  # (G + 1,) int64; label g has pairs first[g] to first[g + 1]
    detection: np.ndarray  # (N,) int64, row of the detection
    overlap: np.ndarray  # (N,) float64


@dataclass
class Scene:
    """The labels and detections of all frames, and the pairs that overlap."""

    frames: int  # number of frames
    labels: Objects  # G rows, names in lower case
    detections: Objects  # D rows, names in lower case
    score: np.ndarray  # (D,) float64
    dont_care: np.ndarray  # (D,) share of each detection's image box inside a DontCare box
    pairs: Pairs
    image_rules: bool = True  # False: every label counts, at any image height, occlusion and truncation

    def candidates(self, overlap: str, above: float) -> Candidates:
        """The pairs whose overlap ("bbox", "bev" or "3d") is strictly greater than ``above``."""
        values = self.pairs.overlap[OVERLAPS.index(overlap)]
        chosen = values > above
        first = np.searchsorted(self.pairs.label[chosen], np.arange(len(self.labels) + 1))
        return Candidates(first, self.pairs.detection[chosen], values[chosen])


def collect(labels: Mapping[str, Objects], detections: Mapping[str, Objects], image_rules: bool = True) -> Scene:
    """Flatten the frames of ``labels`` and their ``detections`` for matching.

    Raises DataError if there is no frame, a frame lacks an entry in ``detections`` (which may be empty), a frame of
    ``detections`` lacks labels, or scores are missing.
    """
    if not labels:
        raise DataError("no frame to evaluate; name the folders of the label and detection files")
    unlabelled = [frame for frame in detections if frame not in labels]
    if unlabelled:
        raise DataError(f"frame {unlabelled[0]}: has detections but no labels; leave out frames without labels")
    pairs = list(_frame_pairs(labels, detections))
    all_labels = concatenate([truth for truth, _ in pairs])
    all_detections = concatenate([found for _, found in pairs])
    # Class names are compared case-insensitively, as in the official evaluator.
    for rows in (all_labels, all_detections):
        rows.names = np.char.lower(np.asarray(rows.names, dtype=str))
    label_first, detection_first = (np.cumsum([0, *(len(pair[n]) for pair in pairs)]) for n in (0, 1))
    regions = is_named(all_labels, DONT_CARE)
    score = all_detections.score
    return Scene(
        frames=len(pairs),
        labels=all_labels,
        detections=all_detections,
        score=np.zeros(0) if score is None else np.ascontiguousarray(score, dtype=np.float64),
        dont_care=dont_care_share(all_labels, all_detections, label_first, detection_first, regions),
        pairs=pair_up(all_labels, all_detections, label_first, detection_first),
        image_rules=image_rules,
    )


def _frame_pairs(labels: Mapping[str, Objects], detections: Mapping[str, Objects]) -> Iterator[tuple[Objects, Objects]]:
    for frame, truth in labels.items():
        if frame not in detections:
            raise DataError(
                f"frame {frame}: no detections; detect in it too (the file may be empty), or leave it out of the frame"
                " list"
            )
        found = detections[frame]
        if len(found) and found.score is None:
            raise DataError(f"frame {frame}: detections lack scores; a detection line has 16 fields")
        yield truth, found


def concatenate(parts: Sequence[Objects]) -> Objects:
    """The rows of all parts in order; ``score`` is taken from the parts that have scores."""
    columns: dict[str, Any] = {}
    for field in fields(Objects):
        values = [getattr(part, field.name) for part in parts]
        present = [value for value in values if value is not None]
        columns[field.name] = np.concatenate(present) if present else None
    return Objects(**columns)
