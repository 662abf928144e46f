"""Gain over the length of the training: which rows belong together, and what the charts show of them."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_up_runs import write_matrix, write_run
from scipy import stats
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.distill.initialise import first_weights
from mink_pd.experiments.finished_runs import Row, make_rows, read_runs
from mink_pd.experiments.groups import make_groups
from mink_pd.models import build_detector
from mink_pd.report.lengths import charts_over_length
from mink_pd.report.statements import name_of

ALONE = {2: [40.0, 42.0], 4: [50.0, 51.0], 8: [55.0, 55.5]}  # mAP 3D of two seeds by number of epochs
TAUGHT = {2: [45.0, 46.0], 4: [51.0, 53.0]}
CONTROL = {2: [39.0, 40.0], 4: [49.0, 49.5]}


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    teacher = write_run(tmp_path, "teacher", 0, 60.0, epochs=8)
    for name, values, extra in (
        ("student", ALONE, ()), ("pointdistiller", TAUGHT, ()), ("control", CONTROL, ("distill.control=random",))
    ):  # fmt: skip
        for epochs, per_seed in values.items():
            for seed, value in enumerate(per_seed):
                taught = None if name == "student" else teacher
                settings = ("model.compression=4", *extra)
                write_run(tmp_path, f"{name}-{epochs}", seed, value, *settings, teacher=taught, epochs=epochs)
    return make_rows(read_runs([tmp_path])[0])[0]


def tips(chart: str) -> list[str]:
    """What the points of a chart say, in the order in which they are drawn."""
    figure = ElementTree.fromstring(chart)
    return [str(dot[0].text) for dot in figure.iter("circle")]


def shown(row: str, values: list[float]) -> str:
    mean, half = sum(values) / 2, stats.t.ppf(0.975, 1) * stats.sem(values)
    return f"{row}: {mean:.3g} ± {half:.3g}"


def test_figures_and_paired_gains_of_every_length(rows: list[Row]) -> None:
    _, _, figures, gains = charts_over_length(rows)
    assert "mAP 3D over steps" in figures
    assert tips(figures) == [
        *(shown(f"student-{epochs}", values) for epochs, values in ALONE.items()),
        *(shown(f"control-{epochs}", values) for epochs, values in CONTROL.items()),
        *(shown(f"pointdistiller-{epochs}", values) for epochs, values in TAUGHT.items()),
        *2 * ["teacher, 16 steps: 60"],
    ]
    assert all(
        text in figures for text in (">4<", ">8<", ">16<", ">student alone<", ">PointDistiller, random teacher<")
    )
    assert "gain in mAP 3D over steps" in gains
    paired = {e: [a - b for a, b in zip(TAUGHT[e], ALONE[e], strict=True)] for e in TAUGHT}
    assert tips(gains)[2:] == [shown(f"pointdistiller-{epochs}", values) for epochs, values in paired.items()]


def test_groups_that_differ_in_length_say_so_the_longest_first(rows: list[Row]) -> None:
    assert [group.title for group in make_groups(rows)] == [
        "PointPillars, 4x student, 4 epochs", "PointPillars, 4x student, 2 epochs"
    ]  # fmt: skip


def test_rows_of_one_length_have_no_such_charts(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    made = make_rows(read_runs([tmp_path])[0])[0]
    assert charts_over_length(made) == []
    assert [group.title for group in make_groups(made)] == ["PointPillars, 4x student"]


def test_what_a_student_has_from_its_teacher_is_named(tmp_path: Path) -> None:
    teacher = write_run(tmp_path, "teacher", 0, 50.0)
    config = tiny_config()
    large, small = tiny_networks(config)
    config.model.layers = [1, 2, 1]
    other = build_detector(config)
    notes = {"auto": first_weights(small, large, config)[0], "auto-misfit": first_weights(other, large, config)[0]}
    rows = {
        "plain": ["distill.initialise=random"],
        "recipe": ["distill.initialise=teacher"],
        "weights": ["distill.methods=[]", "distill.initialise=teacher"],
        "auto": [],
        "auto-misfit": [],
        "labels": ["distill.methods=[]", "distill.initialise=random", "distill.labels=teacher"],
    }
    for name, settings in rows.items():
        run = write_run(tmp_path, name, 0, 40.0, "model.compression=4", *settings, teacher=teacher)
        if name.startswith("auto"):
            (run / "environment.txt").write_text(f"commit: 0\nnote: {notes[name]}\n")
    assert {row.name: name_of(row) for row in make_rows(read_runs([tmp_path])[0])[0] if row.taught} == {
        "plain": "PointDistiller",
        "recipe": "PointDistiller + inherited weights",
        "weights": "Inherited weights",
        "auto": "PointDistiller + inherited weights",
        "auto-misfit": "PointDistiller",
        "labels": "The teacher's labels",
    }


def test_other_numbers_of_frames_a_step_are_another_row(tmp_path: Path) -> None:
    for name, size, devices in (("small", 2, 1), ("large", 8, 1), ("divided", 4, 2)):
        write_run(tmp_path, name, 0, 50.0, f"train.batch_size={size}", f"train.devices={devices}")
    settings = {run.row: run.settings for run in read_runs([tmp_path])[0]}
    assert settings["large"] == settings["divided"]
    differ = {key for key, value in settings["small"].items() if settings["large"][key] != value}
    assert differ == {"train.batch_size"}
