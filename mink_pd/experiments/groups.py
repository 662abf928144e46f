"""Groups of comparable runs: a student alone, its teacher, and the student with each method and its controls."""

import json
from dataclasses import dataclass, field
from typing import Any

from mink_pd.config import Config, flat
from mink_pd.experiments.finished_runs import Row

Settings = dict[str, Any]
_DEFAULTS = flat(Config())
_DETECTORS = {
    "pointpillars": "PointPillars",
    "second": "SECOND",
    "pointrcnn": "PointRCNN",
    "centerpoint_pillars": "CenterPoint on pillars",
    "centerpoint_voxels": "CenterPoint on voxels",
}
_CONTROL = ("distill.control", "distill.control_share")


@dataclass
class Group:
    """Rows whose settings differ only in distillation."""

    student: Row | None  # trained alone
    teacher: Row | None
    taught: list[Row] = field(default_factory=list)  # all distilled rows
    split: str = ""  # the validation split, if groups differ in it, as in a cross-validation
    length: str = ""  # of the training, if groups of one student differ in it

    @property
    def first(self) -> Row:
        return self.taught[0] if self.taught else self.alone

    @property
    def alone(self) -> Row:
        assert self.student is not None
        return self.student

    @property
    def title(self) -> str:
        """``PointPillars, 4x student``, with the split and the length of the training if groups differ in them."""
        return ", ".join(filter(None, (self.detector, f"{self.size} student", self.split, self.length)))

    @property
    def epochs(self) -> int:
        return self.first.first.config.train.epochs

    @property
    def detector(self) -> str:
        name = self.first.first.config.model.name
        return _DETECTORS.get(name, name)  # a plugin's by the name of its registration

    @property
    def size(self) -> str:
        return f"{self.first.first.config.model.compression:g}x"

    @property
    def compared(self) -> list[Row]:
        """Rows with a real teacher, except those that only vary one setting of a more central row."""
        variants = [
            row
            for reference in references(self)
            for _, row in self.varied(reference)
            if len(self.varied(row)) < len(self.varied(reference))
        ]
        return [row for row in self.distilled if row not in variants]

    @property
    def distilled(self) -> list[Row]:
        """Rows that were distilled from a real teacher."""
        return [row for row in self.taught if row.control is None]

    @property
    def main(self) -> Row | None:
        """The row of the main result: the most central row of PointDistiller or, without one, of any method."""
        return max(
            self.distilled, key=lambda row: (row.methods == "pointdistiller", *self.centrality(row)), default=None
        )

    def centrality(self, row: Row) -> tuple[int, int, int]:
        """How central a row is among its variants, judged by settings and never by figures.

        It counts the rows that vary one of its settings, then its controls, then how few settings differ from the
        defaults.
        """
        departures = sum(_DEFAULTS.get(key) != value for key, value in row.part(distill=True).items())
        return len(self.varied(row)), len(self.controls(row)), -departures

    def controls(self, row: Row) -> list[Row]:
        """Rows with the same method and settings, but a control instead of the teacher."""
        own = _without(row.part(distill=True), _CONTROL)
        return [other for other in self.taught if other.control and _without(other.part(True), _CONTROL) == own]

    def varied(self, row: Row) -> list[tuple[str, Row]]:
        """Rows with a real teacher and the same methods that differ from this one in a single key, and the key."""
        found = []
        for other in self.distilled:
            keys = differences(row, other)
            if len(keys) == 1 and "distill.methods" not in keys:
                found.append((keys[0], other))
        return found


def make_groups(rows: list[Row]) -> list[Group]:
    """One group per student, the largest first, and the longest training first; if nothing was distilled, one group per
    row."""
    alone = [row for row in rows if not row.taught]
    groups: dict[str, Group] = {}
    for row in [row for row in rows if row.taught]:
        key = json.dumps(row.part(distill=False), sort_keys=True)
        if key not in groups:
            student = next((one for one in alone if one.part(False) == row.part(False)), None)
            groups[key] = Group(student, teacher_of(row, alone))
        groups[key].taught.append(row)
    made = list(groups.values()) or [Group(row, None) for row in alone]
    splits = [group.first.first.config.data.val_split for group in made]
    for group, split in zip(made, splits, strict=True):
        group.split = split if len(set(splits)) > 1 else ""
    titles = [group.title for group in made]
    for group, title in zip(made, titles, strict=True):
        group.length = f"{group.epochs} epochs" if titles.count(title) > 1 else ""
    if not groups:
        return made
    return sorted(made, key=lambda group: (-len(group.taught), float(group.size[:-1]), group.split, -group.epochs))


def references(group: Group) -> list[Row]:
    """The most central row of each method (or mixture of methods) that has variants."""
    methods = dict.fromkeys(row.methods for row in group.distilled)
    best = [max((row for row in group.distilled if row.methods == method), key=group.centrality) for method in methods]
    return [row for row in best if group.varied(row)]


def differences(one: Row, other: Row) -> list[str]:
    """Distillation keys in which two rows differ."""
    a, b = one.part(distill=True), other.part(distill=True)
    return [key for key in {**a, **b} if a.get(key) != b.get(key)]


def teacher_of(row: Row, alone: list[Row]) -> Row | None:
    """The row that holds the teacher's weights."""
    wanted = {run.teacher for run in row.runs.values()}
    return next((one for one in alone if any(run.weights in wanted for run in one.runs.values())), None)


def _without(settings: Settings, keys: tuple[str, ...]) -> Settings:
    return {key: value for key, value in settings.items() if key not in keys}
