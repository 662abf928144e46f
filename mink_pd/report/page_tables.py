"""The report's tables, as rows of cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import mean

from mink_pd.evaluate.scorers import scorer_of
from mink_pd.experiments.finished_runs import Row, Run
from mink_pd.experiments.groups import Group, differences, references
from mink_pd.experiments.statistics import Estimate, gain, over_seeds
from mink_pd.models.cost import Cost
from mink_pd.report.statements import CONTROLS, main_figures, name_of

STUDENT, TEACHER = "student alone", "teacher"


@dataclass
class Cell:
    """Text, the value by which the column is sorted, and a class of the style sheet."""

    text: str
    value: float | str
    style: str = ""


@dataclass
class Table:
    """Headings and rows. The first column names the row and stays visible when the table scrolls."""

    title: str
    headings: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""


def comparison(group: Group) -> Table:
    """Every row of a group: figures, gain over the student alone, and the gain of its control."""
    headings = ["run", "seeds"]
    metrics = main_figures(group.first)
    for name in metrics.values():
        headings += [name, f"gain {name}", f"control's gain {name}", f"minus teacher {name}"]
    table = Table(group.title, headings)
    for row in _rows(group, group.compared):
        cells = [_name(group, row), Cell(str(len(row.runs)), len(row.runs))]
        controls = group.controls(row) if row in group.distilled else []
        for metric in metrics:
            over_student = gain(row, group.student, metric) if row.taught else None
            gains = [value for one in controls if (value := gain(one, group.student, metric)) is not None]
            strongest = max(gains, key=lambda value: value.mean, default=None)
            below_teacher = gain(row, group.teacher, metric, paired=False) if row is not group.teacher else None
            cells += [
                _cell(over_seeds(row, metric)),
                _cell(over_student, sign=True),
                _cell(strongest, sign=True),
                _cell(below_teacher, sign=True, judge=False),
            ]
        table.rows.append(cells)
    rule = scorer_of(group.first.first.config).rule
    table.note = (
        f"{rule}{rule and '; '}mean and 95 % interval over seeds (Student's t). Gains are paired by seed, and green or"
        " red if the interval excludes zero. With several controls, the largest gain of a control is shown."
    )
    return table


def by_class(group: Group) -> list[Table]:
    """One table per class: the figures that the scorer reports for it, and the gains in the main ones."""
    tables = []
    for name in group.first.first.config.data.classes:
        scorer, present = scorer_of(group.first.first.config), group.first.first.figures
        figures = {key: title for key, title in scorer.class_figures(name).items() if key in present}
        gains = {key: figures[key] for key in scorer.main_class_figures(name) if key in figures}
        table = Table(name, ["run", *figures.values(), *(f"gain {title}" for title in gains.values())])
        for row in _rows(group, group.distilled):
            cells = [_name(group, row), *(_cell(over_seeds(row, key)) for key in figures)]
            cells += [_cell(gain(row, group.student, key) if row.taught else None, sign=True) for key in gains]
            table.rows.append(cells)
        tables.append(table)
    return tables


def ablations(group: Group) -> Table | None:
    """Each row that differs from its method's reference in one setting, and the difference in the main figures."""
    metrics = main_figures(group.first)
    table = Table(group.title, ["setting", "value", "run", *metrics.values()])
    table.headings += [f"minus reference {name}" for name in metrics.values()]
    for reference in references(group):
        for key, row in group.varied(reference):
            value, before = (row.first.settings.get(key), reference.first.settings.get(key))
            words = key.removeprefix("distill.").split(".")
            cells = [Cell("\n".join(reversed(words)), key), Cell(f"{shown(value)} (not {shown(before)})", str(value))]
            cells.append(Cell(row.name, row.name))
            cells += [_cell(over_seeds(row, metric)) for metric in metrics]
            cells += [_cell(gain(row, reference, metric), sign=True) for metric in metrics]
            table.rows.append(cells)
    names = ", ".join(row.name for row in references(group))
    table.note = f"Reference: {names}. Differences are paired by seed."
    return table if table.rows else None


def looks(group: Group) -> Table | None:
    """For each method and tap: where the selected rows lie, their weights, the adapters' output sizes, the losses."""
    keys = {"inside": "rows inside objects", "largest_phi": "largest φ", "teacher_rms": "teacher's size",
            "student_rms": "student's size"}  # fmt: skip
    table = Table(group.title, ["run", "tap", *keys.values(), "loss, first epoch", "loss, last epoch"])
    for row in [row for row in _rows(group, group.distilled) if row.taught]:
        for method in row.first.config.distill.methods:
            for tap in _taps(row.first, method):
                cells = [_name(group, row), Cell(f"{method} {tap}" if "+" in row.methods else tap, tap)]
                for key in keys:
                    cells.append(_logged(row, f"{method}/{tap}/{key}", -1, "{:.0%}" if key == "inside" else "{:.2f}"))
                cells += [_logged(row, f"{method}_{tap}", epoch, "{:.3g}") for epoch in (0, -1)]
                table.rows.append(cells)
    table.note = (
        "Share of the selected rows inside labelled objects; largest weight of a row (the mean is 1); root mean square"
        " of the compared features after the adapters (if both shrink, the student learns nothing); losses as they are"
        " added to the sum. Means over seeds, in the last epoch unless stated otherwise."
    )
    return table if table.rows else None


def cost(rows: list[Row], costs: Mapping[str, Cost]) -> Table:
    """Cost and main figures of the rows whose cost is known."""
    metrics = main_figures(rows[0])
    table = Table("Cost", ["run", "parameters", "multiply-adds per frame", "ms per frame", *metrics.values()])
    for row in [row for row in rows if row.name in costs]:
        one = costs[row.name]
        cells = [Cell(row.name, row.name), Cell(f"{one.parameters / 1e6:.2f} M", one.parameters)]
        cells.append(Cell(f"{one.multiply_adds / 1e9:.2f} G", one.multiply_adds))
        cells.append(Cell(f"{one.milliseconds:.1f}", one.milliseconds))
        table.rows.append(cells + [_cell(over_seeds(row, metric)) for metric in metrics])
    table.note = (
        f"{timed_with(costs)} Measured on the machine that made this report. Other work on it lengthens the times."
    )
    return table


def timed_with(costs: Mapping[str, Cost]) -> str:
    """What the milliseconds are those of, as a sentence."""
    torch = [name for name, one in costs.items() if not one.engine]
    if len(torch) == len(costs):
        return "Milliseconds: from points to boxes, with torch."
    others = f"; with torch: {', '.join(torch)}" if torch else ""
    return f"Milliseconds: from points to boxes, with the engine{others}."


def run_list(rows: Iterable[Row]) -> Table:
    """Where each figure comes from."""
    table = Table("Runs", ["run", "seed", "epochs", "training time", "commit", "folder"])
    for row in rows:
        for seed, run in row.runs.items():
            seconds = sum(one.get("seconds", 0.0) for one in [*run.epochs, *run.validations])
            time = Cell(f"{seconds / 60:.1f} min" if seconds else "not recorded", seconds)
            commit = Cell(run.commit[:7] + " with changes" * ("changes" in run.commit), run.commit)
            epochs = run.config.train.epochs
            table.rows.append(
                [Cell(row.name, row.name), Cell(str(seed), seed), Cell(str(epochs), epochs), time, commit,
                 Cell(str(run.folder), str(run.folder))]
            )  # fmt: skip
    return table


def shown(value: object) -> str:
    """A setting as readable text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(group: Group, distilled: list[Row]) -> list[Row]:
    """Teacher, student, these rows each followed by its controls, then controls whose method has no row."""
    result = [row for row in (group.teacher, group.student) if row is not None]
    for row in distilled:
        result += [row, *group.controls(row)]
    return result + [row for row in group.taught if row not in [*result, *group.distilled]]


def _name(group: Group, row: Row) -> Cell:
    """The row's name with its method and control on a second line."""
    if row is group.teacher:
        return Cell(f"{row.name}\n{TEACHER}", row.name, "teacher")
    if row is group.student:
        return Cell(f"{row.name}\n{STUDENT}", row.name, "student")
    if row.control:
        return Cell(f"{row.name}\n{name_of(row)}, {CONTROLS[row.control]}", row.name, "control")
    main = group.main
    changed = differences(main, row) if main is not None and main is not row and main.methods == row.methods else []
    what = ", ".join(f"{key.split('.')[-1]} {shown(row.first.settings.get(key))}" for key in changed[:2])
    return Cell(f"{row.name}\n{name_of(row)}{', ' * bool(what)}{what}", row.name, "method")


def _cell(value: Estimate | None, sign: bool = False, judge: bool = True) -> Cell:
    if value is None:
        return Cell("", -1e9)
    style = ("up" if value.mean > 0 else "down") if sign and judge and value.clear else ""
    return Cell(value.text(sign), value.mean, style)


def _logged(row: Row, key: str, epoch: int, form: str) -> Cell:
    """The mean over seeds of a logged value in the first (0) or last (-1) epoch; empty if it was not logged."""
    values = [run.epochs[epoch][key] for run in row.runs.values() if run.epochs and key in run.epochs[epoch]]
    return Cell(form.format(mean(values)).replace("%", " %"), mean(values)) if values else _cell(None)


def _taps(run: Run, method: str) -> list[str]:
    """The taps that appear in the names of the method's losses."""
    keys = run.epochs[-1] if run.epochs else {}
    return [key.removeprefix(f"{method}_") for key in keys if key.startswith(f"{method}_") and "/" not in key]
