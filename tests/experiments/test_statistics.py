"""Rows, groups, gains and the sentences made of them, against plain arithmetic."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import write_matrix, write_run
from scipy import stats

from mink_pd.errors import DataError
from mink_pd.experiments.finished_runs import make_rows, read_runs
from mink_pd.experiments.groups import Group, make_groups, references
from mink_pd.experiments.statistics import gain, over_seeds
from mink_pd.report.page_tables import by_class
from mink_pd.report.statements import finding


def group_of(folder: Path) -> Group:
    rows, _ = make_rows(read_runs([folder])[0])
    (group,) = make_groups(rows)
    return group


def named(group: Group, name: str):  # type: ignore[no-untyped-def]
    return next(row for row in group.taught if row.name == name)


def test_rows_find_their_student_teacher_controls_and_variants(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    group = group_of(tmp_path)
    assert group.title == "PointPillars, 4x student"
    assert group.student is not None
    assert group.teacher is not None
    assert (group.student.name, group.teacher.name) == ("student", "teacher")
    assert sorted(group.student.runs) == [0, 1, 2]
    main = named(group, "pointdistiller")
    assert group.main is main
    assert [row.name for row in group.controls(main)] == ["control"]
    assert [(key, row.name) for key, row in group.varied(main)] == [
        ("distill.pointdistiller.neighbours", "k-4"),
        ("distill.pointdistiller.neighbours", "k-64"),
    ]
    assert references(group) == [main]  # all three have two neighbours; it has the control
    assert [row.name for row in group.compared] == ["k-4", "k-64", "pointdistiller"]
    teacher = tmp_path / "teacher-seed0"
    write_run(tmp_path, "tau", 0, 44.0, "model.compression=4", "distill.pointdistiller.temperature=4", teacher=teacher)
    group = group_of(tmp_path)
    assert [row.name for row in group.compared] == ["pointdistiller"]


DAMAGE = {
    "config.yaml": [b"", b"\xff\xfe\x00", b"[1]", b"seed: x", b"a: &a [*a]"],
    "metrics.jsonl": [b"", b"\x00", b"[]\n{}\n", b'{"split": "val", "epoch": 2, "mAP_3d": "high"}\n'],
    "files.json": [b"[]", b"\xff", b'{"teacher": 3}', b"{"],
}


@pytest.mark.parametrize(("name", "content"), [(name, one) for name, contents in DAMAGE.items() for one in contents])
def test_a_damaged_run_is_listed_and_the_others_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    write_run(tmp_path, "whole", 0, 40.0)
    damaged = write_run(tmp_path, "damaged", 0, 41.0)
    (damaged / name).write_bytes(content)
    runs, left_out = read_runs([tmp_path])
    if (name, content) == ("config.yaml", b""):  # all defaults, with other numbers of epochs
        assert "no validation of epoch 80" in left_out[0]
    assert [run.row for run in runs] == ["whole"]
    (line,) = left_out
    assert line.startswith("damaged-seed0: ")
    assert "\n" not in line


@pytest.mark.parametrize("name", [*DAMAGE, "checkpoints"])
def test_something_else_in_a_files_place(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "whole", 0, 40.0)
    damaged = write_run(tmp_path, "damaged", 0, 41.0)
    if (damaged / name).is_dir():
        shutil.rmtree(damaged / name)
        (damaged / name).write_text("")
    else:
        (damaged / name).unlink(missing_ok=True)
        (damaged / name).mkdir()
    runs, left_out = read_runs([tmp_path])
    assert "whole" in [run.row for run in runs]
    assert all(run.weights is None or run.row == "whole" for run in runs)
    assert len(runs) + len(left_out) == 2
    for run in runs:
        assert run.commit == "0123456789abcdef"


def test_gains_are_paired_by_seed(tmp_path: Path) -> None:
    values = write_matrix(tmp_path)
    group = group_of(tmp_path)
    row = named(group, "pointdistiller")
    difference = np.subtract(values["pointdistiller"], values["student"])
    low, high = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
    found = gain(row, group.student, "mAP_3d")
    assert found is not None
    assert (found.mean, found.half, found.n) == pytest.approx((difference.mean(), (high - low) / 2, 3))
    below = gain(row, group.teacher, "mAP_3d", paired=False)
    assert below is not None
    assert below.mean == pytest.approx(np.mean(values["pointdistiller"]) - 60)
    easy = over_seeds(row, "Car/bev/easy")
    assert easy is not None
    assert easy.mean == pytest.approx(np.mean(values["pointdistiller"]) + 15)


def test_a_seed_that_the_student_lacks_is_left_out_of_the_gain(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    write_run(tmp_path, "pointdistiller", 3, 99.0, "model.compression=4", teacher=tmp_path / "teacher-seed0")
    group = group_of(tmp_path)
    row = named(group, "pointdistiller")
    found = gain(row, group.student, "mAP_3d")
    assert len(row.runs) == 4
    assert found is not None
    assert found.n == 3
    assert found.mean < 5


def test_the_finding_says_what_the_control_has(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    text = finding(group_of(tmp_path))
    # gains 4, 3.5, 4; the control's -1, -0.5, -1; the difference 5, 4, 5
    assert "PointDistiller gains +3.8 ± 0.7 mAP BEV and +3.8 ± 0.7 mAP 3D" in text
    assert "(3 seeds)" in text
    assert "The intervals exclude zero" in text
    assert "(random teacher) gains −0.8 ± 0.7 mAP 3D; the method is +4.7 ± 1.4 above it, so it transfers" in text


def test_controls_that_say_the_same_are_one_sentence(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    teacher = tmp_path / "teacher-seed0"
    for seed, value in enumerate([38.0, 39.5, 39.0]):
        settings = "model.compression=4", "distill.control=shuffled"
        write_run(tmp_path, "shuffled", seed, value, *settings, teacher=teacher)
    text = finding(group_of(tmp_path))
    assert "Its controls (random teacher and teacher's rows shuffled) gain −0.8 ± 0.7 and −2.2 ± 0.7 mAP 3D; " in text
    assert "the method is +4.7 ± 1.4 and +6.0 ± 0.0 above them, so it transfers knowledge of the teacher." in text


def test_a_gain_that_the_control_shares_is_called_so(tmp_path: Path) -> None:
    teacher = write_run(tmp_path, "teacher", 0, 60.0)
    for seed, (alone, taught, control) in enumerate([(40, 43, 44), (41, 45, 43), (42, 45, 45.5)]):
        write_run(tmp_path, "student", seed, alone, "model.compression=4")
        write_run(tmp_path, "distilled", seed, taught, "model.compression=4", teacher=teacher)
        write_run(
            tmp_path, "control", seed, control, "model.compression=4", "distill.control=shuffled", teacher=teacher
        )
    assert "includes zero, so the gain may not come from the teacher" in finding(group_of(tmp_path))


def test_one_seed_and_no_control_are_said(tmp_path: Path) -> None:
    teacher = write_run(tmp_path, "teacher", 0, 60.0)
    write_run(tmp_path, "student", 0, 40.0, "model.compression=4")
    write_run(tmp_path, "distilled", 0, 41.0, "model.compression=4", teacher=teacher)
    text = finding(group_of(tmp_path))
    assert "+1.0 mAP 3D" in text
    assert "One seed gives no interval" in text
    assert "No control was run" in text


def test_what_is_not_finished_or_there_twice_is_listed(tmp_path: Path) -> None:
    write_matrix(tmp_path / "one")
    write_run(tmp_path / "one", "late", 0, 1.0, finished=False)
    write_run(tmp_path / "two", "student", 1, 42.0, "model.compression=4")
    (tmp_path / "two" / "student-seed1" / "config.yaml").write_text(
        (tmp_path / "one" / "student-seed1" / "config.yaml").read_text()
    )
    runs, left_out = read_runs([tmp_path / "one", tmp_path / "two"])
    assert left_out == ["late-seed0: metrics.jsonl: has no validation of epoch 2"]
    _, twice = make_rows(runs)
    assert len(twice) == 1
    assert "the same settings and seed" in twice[0]


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing: no such folder"):
        read_runs([tmp_path / "nothing"])
    with pytest.raises(DataError, match=r"no run folders in it \(none has a config.yaml\)"):
        read_runs([tmp_path])
    write_run(tmp_path, "late", 0, 1.0, finished=False)
    with pytest.raises(DataError, match="no run there is finished"):
        read_runs([tmp_path])


def test_figures_of_another_benchmark(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    for file in tmp_path.glob("*/metrics.jsonl"):
        text = file.read_text().replace("mAP_bev", "mAP").replace("mAP_3d", "NDS").replace("Car/3d/moderate", "Car/AP")
        file.write_text(text.replace("/bev/", "/x/").replace("/3d/", "/y/"))
        settings = file.with_name("config.yaml")
        settings.write_text(settings.read_text().replace("kind: kitti", "kind: nuscenes"))
    group = group_of(tmp_path)
    assert "gains +3.8 ± 0.7 mAP and +3.8 ± 0.7 NDS over" in finding(group)
    assert "(random teacher) gains −0.8 ± 0.7 NDS" in finding(group)
    car = by_class(group)[0]
    assert car.headings == ["run", "AP", "gain AP"]
    assert [cell.text for cell in car.rows[0]] == ["teacher\nteacher", "60.0", ""]


def test_folds_are_groups_of_their_own_named_by_their_split(tmp_path: Path) -> None:
    for fold in ("fold0", "fold1"):
        split = f"data.val_split={fold}_val"
        teacher = write_run(tmp_path, f"teacher-{fold}", 0, 60.0, split)
        write_run(tmp_path, f"student-{fold}", 0, 40.0, split, "model.compression=4")
        write_run(tmp_path, f"distilled-{fold}", 0, 44.0, split, "model.compression=4", teacher=teacher)
    groups = make_groups(make_rows(read_runs([tmp_path])[0])[0])
    assert [group.title for group in groups] == [f"PointPillars, 4x student, {fold}_val" for fold in ("fold0", "fold1")]
    for fold, group in zip(("fold0", "fold1"), groups, strict=True):
        assert group.student is not None
        assert group.student.name == f"student-{fold}"
        assert group.teacher is not None
        assert group.teacher.name == f"teacher-{fold}"


@pytest.mark.parametrize(("name", "title"), [("centerpoint_pillars", "CenterPoint on pillars"), ("second", "SECOND")])
def test_every_detector_has_a_title(name: str, title: str, tmp_path: Path) -> None:
    write_run(tmp_path, "student", 0, 40.0, f"model={{name: {name}, compression: 4}}")
    assert group_of(tmp_path).title == f"{title}, 4x student"
