"""Charts of the training, of the effect of one setting, and of accuracy against cost."""

from collections.abc import Callable

import numpy as np

from mink_pd.experiments.finished_runs import Row
from mink_pd.experiments.groups import Group, references
from mink_pd.experiments.statistics import Estimate, over_seeds
from mink_pd.models.cost import Cost
from mink_pd.report.charts import COLOURS, Series, chart
from mink_pd.report.statements import main_figures, name_of

KEYS = {"neighbours": "K, neighbours", "rows": "N, selected rows", "temperature": "τ, temperature", "weight": "weight"}
_CLOCK = ("split", "epoch", "step", "loss", "frames_per_second", "seconds")


def training(row: Row) -> list[str]:
    """Loss terms, validation figures and the methods' logged values over epochs: means over seeds, 95 % intervals."""
    keys = list(dict.fromkeys(key for run in row.runs.values() for one in run.epochs for key in one))
    terms = [key for key in keys if "/" not in key and key not in _CLOCK]
    own = tuple(f"{method}_" for method in row.first.config.distill.methods) if row.taught else ()
    detection = [term for term in terms if not term.startswith(own)] if own else terms
    charts = [_over_epochs(row, detection, "detection losses", lambda term: term)]
    charts.append(_over_epochs(row, [t for t in terms if t not in detection], "distillation losses", lambda t: t))
    for what, title in (
        ("rms", "features after the adapters (RMS)"),
        ("largest_phi", "largest φ"),
        ("inside", "share of selected rows inside objects"),
    ):
        logs = [key for key in keys if "/" in key and key.endswith(what)]
        charts.append(_over_epochs(row, logs, title, _tap))
    if max(len(run.validations) for run in row.runs.values()) > 1:
        charts.append(
            _over_epochs(row, list(main_figures(row)), "validation", main_figures(row).__getitem__, validation=True)
        )
    return [one for one in charts if one]


def sensitivities(group: Group) -> list[str]:
    """For each number that alone was varied: the main figures over its values; a level line is the student alone."""
    charts = []
    for reference in references(group):
        varied = group.varied(reference)
        for key in dict.fromkeys(key for key, _ in varied):
            rows = [reference, *(row for k, row in varied if k == key)]
            values = [row.first.settings[key] for row in rows]
            if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
                charts += [
                    _over_setting(group, reference, key, rows, *metric) for metric in main_figures(reference).items()
                ]
    return charts


def accuracy_against_cost(rows: list[Row], costs: dict[str, Cost]) -> list[str]:
    """The main figures over multiply-adds, parameters and milliseconds, for the rows whose cost is known."""
    kinds = {
        "multiply-adds per frame [G]": lambda cost: cost.multiply_adds / 1e9,
        "parameters [M]": lambda cost: cost.parameters / 1e6,
        "ms per frame": lambda cost: cost.milliseconds,
    }
    charts = []
    for metric, name in main_figures(rows[0]).items():
        for label, of in kinds.items():
            series = []
            for number, (word, taught) in enumerate((("trained alone", False), ("distilled", True))):
                ours = [row for row in rows if row.taught == taught and row.name in costs]
                points = [(of(costs[row.name]), value, row.name) for row in ours if (value := over_seeds(row, metric))]
                points.sort(key=lambda point: point[0])
                x, names = [cost for cost, _, _ in points], [row for _, _, row in points]
                means, halves = [value.mean for _, value, _ in points], [value.half for _, value, _ in points]
                series.append(Series(word, x, means, halves, names, colour=number, line=False))
            charts.append(chart(series, label, name, log=True, title=f"{name} against {label.split(' [')[0]}"))
    return [one for one in charts if one]


def _over_setting(group: Group, reference: Row, key: str, rows: list[Row], metric: str, name: str) -> str:
    found = [(row.first.settings[key], row.name, estimate) for row in rows if (estimate := over_seeds(row, metric))]
    found.sort(key=lambda one: one[0])
    x, names = [value for value, _, _ in found], [name for _, name, _ in found]
    means, halves = [e.mean for _, _, e in found], [e.half for _, _, e in found]
    series = [Series(name_of(reference), x, means, halves, names, colour=1)]
    alone = over_seeds(group.student, metric) if group.student else None
    if alone is not None:
        series.append(Series("student alone", [x[0], x[-1]], [alone.mean] * 2, [alone.half] * 2, colour=0))
    last = key.rsplit(".", 1)[-1]
    log = min(x) > 0 and max(x) / min(x) >= 8
    setting = KEYS.get(last, last)
    return chart(series, setting, name, log=log, title=f"{name} over {setting}")


def _over_epochs(row: Row, keys: list[str], title: str, name: Callable[[str], str], validation: bool = False) -> str:
    series = []
    for number, key in enumerate(keys):
        values: dict[int, list[float]] = {}
        for run in row.runs.values():
            for one in run.validations if validation else run.epochs:
                if key in one:
                    values.setdefault(one["epoch"], []).append(one[key])
        epochs = sorted(values)
        estimates = [Estimate.of(values[epoch]) for epoch in epochs]
        means = [e.mean if e else np.nan for e in estimates]
        halves = [e.half if e else np.nan for e in estimates]
        series.append(Series(name(key), epochs, means, halves, colour=number % COLOURS))
    return chart(series, "epoch", title, title=title)


def _tap(key: str) -> str:
    """``pointdistiller/bev1/teacher_rms`` -> ``bev1 teacher``."""
    parts = key.split("/")
    return " ".join([*parts[1:-1], parts[-1].removesuffix("_rms")] if parts[-1].endswith("rms") else parts[1:-1])
