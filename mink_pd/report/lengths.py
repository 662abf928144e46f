"""Figures and gains over the length of the training, of rows that differ only in their number of epochs."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mink_pd.experiments.finished_runs import Row
from mink_pd.experiments.groups import teacher_of
from mink_pd.experiments.statistics import Estimate, gain, over_seeds
from mink_pd.report.charts import COLOURS, Series, chart
from mink_pd.report.statements import CONTROLS, main_figures, name_of

ByLength = dict[int, Row]  # rows by their number of training steps


@dataclass
class Student:
    """One student, trained for different lengths.

    alone: without a teacher.
    taught: with each setting of distillation, by its title.
    teacher: of the distilled rows, if it is among the runs.
    """

    alone: ByLength = field(default_factory=dict)
    taught: dict[str, ByLength] = field(default_factory=dict)
    teacher: Row | None = None


def charts_over_length(rows: list[Row]) -> list[str]:
    """For each student that was distilled for two lengths or more: its main figures and its gains over steps."""
    charts = []
    for student in _students(rows):
        first = next(iter(next(iter(student.taught.values())).values()))
        for metric, name in main_figures(first).items():
            charts += [_figures(student, metric, name), _gains(student, metric, name)]
    return [one for one in charts if one]


def _students(rows: list[Row]) -> list[Student]:
    """Students with a setting of distillation at two lengths or more."""
    alone = [row for row in rows if not row.taught]
    students: dict[str, Student] = {}
    settings: dict[str, dict[str, ByLength]] = {}  # of each student, by the settings of distillation
    for row in rows:
        key = _without_epochs(row)
        student = students.setdefault(key, Student())
        if not row.taught:
            student.alone[_steps(row)] = row
            continue
        student.teacher = student.teacher or teacher_of(row, alone)
        settings.setdefault(key, {}).setdefault(json.dumps(row.part(True), sort_keys=True), {})[_steps(row)] = row
    for key, found in settings.items():
        several = [by_length for by_length in found.values() if len(by_length) > 1]
        students[key].taught = dict(zip(_titles(several), several, strict=True))
    return [student for student in students.values() if student.taught]


def _without_epochs(row: Row) -> str:
    return json.dumps({key: v for key, v in row.part(False).items() if key != "train.epochs"}, sort_keys=True)


def _steps(row: Row) -> int:
    """The number of training steps of its runs."""
    return int(row.first.validations[-1]["step"])


def _titles(several: list[ByLength]) -> list[str]:
    """The method and control of each; of two that share them, also the name of a row."""
    rows = [next(iter(by_length.values())) for by_length in several]
    titles = [name_of(row) + (f", {CONTROLS[row.control]}" if row.control else "") for row in rows]
    count = Counter(titles)
    return [title if count[title] == 1 else f"{title} ({row.name})" for title, row in zip(titles, rows, strict=True)]


def _figures(student: Student, metric: str, name: str) -> str:
    every = {"student alone": student.alone, **student.taught}
    lines = [
        _series(title, rows, number, lambda row, _: over_seeds(row, metric))
        for number, (title, rows) in enumerate(every.items())
    ]
    return chart(lines + _level(student, metric), "steps", name, log=True, title=f"{name} over steps")


def _gains(student: Student, metric: str, name: str) -> str:
    lines = [
        _series(title, rows, number, lambda row, steps: gain(row, student.alone.get(steps), metric))
        for number, (title, rows) in enumerate(student.taught.items(), 1)
    ]
    return chart(lines, "steps", name, log=True, title=f"gain in {name} over steps")


def _series(title: str, rows: ByLength, number: int, estimate: Callable[[Row, int], Estimate | None]) -> Series:
    found = [(steps, rows[steps].name, value) for steps in sorted(rows) if (value := estimate(rows[steps], steps))]
    x, names = [steps for steps, _, _ in found], [name for _, name, _ in found]
    means, halves = [value.mean for _, _, value in found], [value.half for _, _, value in found]
    return Series(title, x, means, halves, names, colour=number % COLOURS)


def _level(student: Student, metric: str) -> list[Series]:
    """The teacher's figure as a level line over all lengths."""
    value = over_seeds(student.teacher, metric) if student.teacher else None
    if student.teacher is None or value is None:
        return []
    lengths = [steps for rows in (student.alone, *student.taught.values()) for steps in rows]
    title = f"teacher, {_steps(student.teacher):,} steps"
    colour = (1 + len(student.taught)) % COLOURS
    return [Series(title, [min(lengths), max(lengths)], [value.mean] * 2, colour=colour)]
