"""The report: all parts in one self-contained HTML file."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup  # comes with Jinja2
from PIL import Image

from mink_pd.data import open_dataset
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.detect.engine_detector import with_engine
from mink_pd.errors import MinkPDError
from mink_pd.experiments.finished_runs import Row, make_rows, read_runs
from mink_pd.experiments.groups import Group, make_groups
from mink_pd.experiments.statistics import gain, over_seeds
from mink_pd.files import make_folder, write_text
from mink_pd.models.checkpoint import load_detector
from mink_pd.models.cost import Cost, measure
from mink_pd.report import page_tables, plots, shown_frame
from mink_pd.report.lengths import charts_over_length
from mink_pd.report.statements import finding, main_figures
from mink_pd.simulator import simulate_frame

COST_FRAMES = 4


@dataclass
class Report:
    """What was read and measured."""

    rows: list[Row]
    groups: list[Group]
    left_out: list[str]  # runs that are not in the tables, and why
    costs: dict[str, Cost] = field(default_factory=dict)  # by the row's name
    shown: shown_frame.Shown | None = None  # the frame in 3D
    pictures: dict[str, Image.Image] = field(default_factory=dict)  # by title
    missing: list[str] = field(default_factory=list)  # which parts of the page cannot be shown, and why

    @property
    def weighed(self) -> list[Row]:
        """Rows whose cost is shown: those trained alone and each group's main row, as all distilled students of a
        group cost the same."""
        return [row for row in self.rows if not row.taught or row in [group.main for group in self.groups]]


def make_report(paths: list[Path], data: Path | None = None, frame_id: str | None = None) -> Report:
    """Read the runs in these folders, measure the cost of their detectors, and run them on one frame.

    data: root of the data set for cost and pictures; None: the runs' own.
    frame_id: the frame to show; None: one is chosen.
    Raises DataError if there is no finished run. The report lists everything else that is missing.
    """
    runs, left_out = read_runs(paths)
    rows, twice = make_rows(runs)
    report = Report(rows, make_groups(rows), left_out + twice)
    report.costs = _costs(report.weighed, data, report.missing)
    try:
        report.shown = shown_frame.look(report.groups[0], data, frame_id)
        report.pictures = shown_frame.pictures(report.shown)
    except MinkPDError as error:
        report.missing.append(f"{'Pictures' if report.shown else 'Pictures and the 3D scene'} are missing: {error}")
    return report


def write_page(report: Report, folder: Path) -> Path:
    """Write ``index.html`` into ``folder``, completely or not at all, and return its path."""
    environment = Environment(
        loader=PackageLoader("mink_pd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        report=report,
        title=_title(report.groups),
        findings=[(group.title, finding(group)) for group in report.groups],
        figures=_figures(report.groups[0]),
        groups=[_parts(group) for group in report.groups],
        length_charts=[Markup(one) for one in charts_over_length(report.rows)],
        costs=page_tables.cost(report.weighed, report.costs),
        cost_charts=[Markup(one) for one in plots.accuracy_against_cost(report.weighed, report.costs)],
        training=[(row, [Markup(one) for one in plots.training(row)]) for row in report.rows],
        opened=[row for group in report.groups[:1] for row in (group.student, group.main)],
        runs=page_tables.run_list(report.rows),
        pictures={name: shown_frame.png(picture) for name, picture in report.pictures.items()},
        scene=script_data(shown_frame.scene(report.shown)) if report.shown else None,
        made=datetime.now(UTC).strftime("%d %B %Y"),
        **{name: Markup(read_template(file)) for name, file in
           (("style", "style.css"), ("page_script", "page.js"), ("scene_script", "scene.js"))},
    )  # fmt: skip
    make_folder(folder)
    write_text(folder / "index.html", page)
    return folder / "index.html"


def _title(groups: list[Group]) -> str:
    """``PointPillars: 4x, 16x students``."""
    if len(groups) == 1:
        return groups[0].title
    detectors = list(dict.fromkeys(group.detector for group in groups))
    sizes = list(dict.fromkeys(group.size for group in groups))
    return f"{' and '.join(detectors)}: {', '.join(sizes)} student{'s' * (len(sizes) > 1)}"


def _parts(group: Group) -> dict:
    return {
        "title": group.title,
        "comparison": page_tables.comparison(group),
        "by_class": page_tables.by_class(group),
        "ablations": page_tables.ablations(group),
        "sensitivities": [Markup(one) for one in plots.sensitivities(group)],
        "looks": page_tables.looks(group),
    }


def _figures(group: Group) -> list[tuple[str, str, str]]:
    """The numbers at the top of the page: name, value, gain."""
    main, result = group.main, []
    for metric, name in main_figures(group.first).items():
        for row, word in ((group.student, "student alone"), (main, "distilled"), (group.teacher, "teacher")):
            value = over_seeds(row, metric) if row else None
            change = gain(row, group.student, metric) if row and row is main else None
            if value is not None:
                result.append((f"{name}, {word}", value.text(), change.text(sign=True) if change else ""))
    return result


def _costs(rows: list[Row], data: Path | None, missing: list[str]) -> dict[str, Cost]:
    """Cost by the row's name, measured once per detector on a few validation frames, or on a simulated frame."""
    costs: dict[str, Cost] = {}
    known: dict[str, Cost] = {}
    for row in rows:
        key = row.first.config.model.model_dump_json()
        run = next((run for run in row.runs.values() if run.weights), None)
        if key not in known and run is not None:
            try:
                detector = load_detector(run.folder.path)[0]
                known[key] = measure(detector, _cost_frames(row, data, missing), faster=with_engine(detector))
            except MinkPDError as error:
                missing.append(f"The cost of {row.name} could not be measured: {error}.")
        if key in known:
            costs[row.name] = known[key]
    if without := [row.name for row in rows if row.name not in costs]:
        missing.append(
            f"The cost of {', '.join(without)} is missing: no usable checkpoints/last.safetensors in the run folders."
        )
    return costs


def _cost_frames(row: Row, data: Path | None, missing: list[str]) -> list[Batch]:
    settings = row.first.config.data
    try:
        dataset = open_dataset(settings.model_copy(update={"root": data or settings.root}), settings.val_split)
        frames = [dataset[index] for index in range(min(COST_FRAMES, len(dataset)))]
    except MinkPDError as error:
        frames = [Frame("simulated", simulate_frame(seed=0, frame=0)[0].points)]
        text = f"The cost is measured on a simulated frame and not on the runs' data: {error}"
        missing += [text] * (text not in missing)
    return [collate([one], settings.classes) for one in frames]


def read_template(name: str) -> str:
    """The text of a file in templates/."""
    return resources.files("mink_pd.report").joinpath("templates", name).read_text()


def script_data(value: dict | list) -> Markup:
    """JSON escaped so that it cannot end the script element that contains it."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))
