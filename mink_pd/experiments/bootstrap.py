"""Intervals by bootstrap over groups of frames and over seeds (Efron and Tibshirani 1993, An Introduction to the
Bootstrap, chapter 13: the percentile method).

Frames of one drive are alike, so whole drives are drawn and not frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mink_pd.evaluate.scorers import Kept, Scorer

RESAMPLES = 1000
_GROUPS, _SEEDS = 0, 1  # the purpose of a random generator


@dataclass(frozen=True)
class Interval:
    """A figure of all frames, the mean over the seeds, and its 95 % interval."""

    value: float
    low: float
    high: float

    def cells(self, sign: bool = False) -> tuple[str, str]:
        """``46.6`` and ``40.1 to 52.0``; a dash for what is undefined."""
        value, low, high = ("–" if np.isnan(x) else f"{x:{'+' * sign}.1f}" for x in (self.value, self.low, self.high))
        return value, "–" if "–" in (value, low) else f"{low} to {high}"


@dataclass(frozen=True)
class Scored:
    """F figures of all frames, and of each of R resamples; nan where a figure is undefined."""

    all: np.ndarray  # (F,)
    drawn: np.ndarray  # (R, F)

    def __sub__(self, other: "Scored") -> "Scored":
        """The differences of two detectors on the same frames and resamples."""
        return Scored(self.all - other.all, self.drawn - other.drawn)


def draw_groups(count: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Groups int64 (R, count) drawn with replacement; the same ones at every call, so that detectors are paired."""
    return np.random.default_rng([0, _GROUPS]).integers(count, size=(resamples, count))


def score_resamples(
    scorer: Scorer, kept: Kept, groups: Mapping[str, str], names: Sequence[str], resamples: int = RESAMPLES
) -> Scored:
    """The figures ``names`` of all frames and of frames drawn by group.

    groups: frame -> group. A group that is drawn twice has all its frames twice. Draws of a single group would all be
    equal, so their figures are nan.
    """
    members: dict[str, list[str]] = {}
    for frame in sorted(kept):
        members.setdefault(groups[frame], []).append(frame)
    lists = [members[group] for group in sorted(members)]
    drawn = [
        scorer.score({f"{frame} {turn}": kept[frame] for turn, group in enumerate(rows) for frame in lists[group]})
        for rows in draw_groups(len(lists), resamples).tolist()
    ]
    values = np.array([[figures.get(name, np.nan) for name in names] for figures in [scorer.score(kept), *drawn]])
    if len(lists) < 2:
        values[1:] = np.nan
    return Scored(values[0], values[1:])


def over_seeds(seeds: Sequence[Scored], column: int) -> Interval:
    """The mean of a figure over S seeds, all scored on the same frames and resamples.

    With each resample of the groups, S of the S seeds are drawn with replacement.
    """
    values = np.stack([one.drawn[:, column] for one in seeds])  # (S, R)
    chosen = np.random.default_rng([0, _SEEDS]).integers(len(values), size=values.T.shape)  # (R, S)
    means = values.T[np.arange(len(chosen))[:, None], chosen].mean(axis=1)  # (R,)
    means = means[~np.isnan(means)]
    low, high = np.percentile(means, [2.5, 97.5]) if len(means) else (np.nan, np.nan)
    return Interval(float(np.mean([one.all[column] for one in seeds])), float(low), float(high))
