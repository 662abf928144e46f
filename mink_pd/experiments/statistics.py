"""Means over seeds with confidence intervals, and differences paired by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mink_pd.experiments.finished_runs import Row
from mink_pd.experiments.matrix import interval


@dataclass(frozen=True)
class Estimate:
    """Mean of ``n`` values and half-width of its 95 % interval (Student's t), nan for one value."""

    mean: float
    half: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate | None":
        return cls(*interval(list(values)), len(values)) if values else None

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.n > 1 and abs(self.mean) > self.half

    def text(self, sign: bool = False) -> str:
        """``45.7 ± 1.6``, or ``45.7`` for one value."""
        mean = _signed(self.mean) if sign else f"{self.mean:.1f}"
        return mean if math.isnan(self.half) else f"{mean} ± {self.half:.1f}"


def over_seeds(row: Row, metric: str) -> Estimate | None:
    """Mean of a figure in the validation after the last epoch."""
    return Estimate.of([run.figures[metric] for run in row.runs.values() if metric in run.figures])


def gain(row: Row, over: Row | None, metric: str, paired: bool = True) -> Estimate | None:
    """Differences between runs of equal seed; without ``paired``, and if ``over`` is a single run, from that run."""
    if over is None:
        return None
    only = over.first if not paired and len(over.runs) == 1 else None
    pairs = [(run, over.runs.get(seed, only)) for seed, run in row.runs.items()]
    return Estimate.of(
        [
            run.figures[metric] - other.figures[metric]
            for run, other in pairs
            if other is not None and metric in run.figures and metric in other.figures
        ]
    )


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # no minus before a zero
