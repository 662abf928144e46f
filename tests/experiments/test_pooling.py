"""Cross-validation: folds scored together, bootstrap over groups and seeds, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_kitti import settings, write_data

from mink_pd.cli import parser
from mink_pd.commands import experiment
from mink_pd.commands.arguments.experiment import add_arguments
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.kitti.labels import read_objects, write_objects
from mink_pd.data.objects import Objects
from mink_pd.errors import ConfigError, DataError, MinkPDError
from mink_pd.evaluate.kitti import evaluate_folders, evaluate_kitti, load_folders
from mink_pd.evaluate.scorers import Scorer
from mink_pd.evaluate.scorers.kitti import KittiScorer
from mink_pd.experiments.bootstrap import Scored, draw_groups, over_seeds, score_resamples
from mink_pd.experiments.folds import check_folds, read_groups
from mink_pd.experiments.matrix import Job, Matrix, RunSpec, load_matrix, missing_frames, plan
from mink_pd.experiments.pooling import Figure, Pool, compare_pooled
from mink_pd.models.checkpoint import save_weights
from mink_pd.train.run_folder import identify

FRAMES = [f"{n:06d}" for n in range(9)]
FOLDS = {"a": FRAMES[:4], "b": FRAMES[4:7], "c": FRAMES[7:]}
DRIVES = dict(zip(FRAMES, "PPPQRRRSS", strict=True))
TEXT = """
config: small.yaml
set: [train.epochs=1]
set_fold: ['data.train_split=${fold}_train', 'data.val_split=${fold}_val']
folds: {a: {}, b: {}, c: {}}
groups: drives.csv
metrics: [Car/bev/moderate, Car/3d/moderate@0.5]
runs:
  student: {set: [model.compression=4]}
  teacher: {once: true, against: student}
  more: {against: student, set: [model.compression=4, train.batch_size=3]}
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    root = tmp_path / "data"
    write_data(root, FRAMES, [])
    for fold, frames in FOLDS.items():
        (root / f"ImageSets/{fold}_val.txt").write_text("\n".join(frames))
        (root / f"ImageSets/{fold}_train.txt").write_text("\n".join(id for id in FRAMES if id not in frames))
    lines = [f"{frame},{drive}\n" for frame, drive in DRIVES.items()]
    (root / "drives.csv").write_text("".join(["frame,drive\n", *lines]))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings(root, tmp_path / "runs")))
    (tmp_path / "matrix.yaml").write_text(TEXT)
    return load_matrix(tmp_path / "matrix.yaml")


def detections(root: Path, frame: str, seed: int) -> Objects:
    """The labelled cars, moved and turned at random, some of them missing, and false ones."""
    rng = np.random.default_rng([seed, int(frame)])
    labels = read_objects(root / "training/label_2" / f"{frame}.txt", scores=False)
    found = labels[rng.permutation(np.r_[: len(labels), 0])[: rng.integers(1, len(labels) + 2)]]
    found.location = found.location + rng.normal(0, 0.25, found.location.shape) * [1, 0.2, 1]
    found.score = rng.uniform(0.1, 1, len(found))
    return found


def finish(job: Job, seed: int) -> None:
    """A finished run with made-up detections."""
    config = job.config
    job.folder.checkpoints.mkdir(parents=True)
    job.folder.results.mkdir()
    job.folder.metrics.write_text(json.dumps({"split": "val", "epoch": 1, "mAP_3d": 0.0}) + "\n")
    job.folder.weights("last").write_text(str(config.name))
    sources = {name: folder.weights("last") for name, folder in job.sources.items()}
    job.folder.prepare(config, identify(sources), "", fresh=False)
    for frame in Kitti(config.data.root, config.data.val_split).ids:
        write_objects(job.folder.results / f"{frame}.txt", detections(config.data.root, frame, seed))


def done(matrix: Matrix, tmp_path: Path, seeds: int = 2) -> list[Job]:
    jobs = plan(matrix, list(range(seeds)), tmp_path / "runs", [])
    for number, job in enumerate(jobs):
        finish(job, number)
    return jobs


def union(jobs: list[Job], tmp_path: Path) -> Path:
    """The detection files of several runs in one folder."""
    folder = tmp_path / "union"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for path in (path for job in jobs for path in job.folder.results.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def of(jobs: list[Job], run: str, seed: int) -> list[Job]:
    return [job for job in jobs if (job.run, job.seed) == (run, seed)]


def test_every_run_is_planned_for_every_fold(matrix: Matrix, tmp_path: Path) -> None:
    jobs = plan(matrix, [0, 1], tmp_path / "runs", ["data.max_frames=3"])
    names = [str(job.config.name) for job in jobs]
    assert names[:4] == ["student-a-seed0", "teacher-a-seed0", "more-a-seed0", "student-b-seed0"]
    assert len(names) == 3 * (2 + 1 + 2)
    splits = {job.fold: (job.config.data.train_split, job.config.data.val_split) for job in jobs}
    assert splits == {fold: (f"{fold}_train", f"{fold}_val") for fold in FOLDS}


def test_pooled_folds_are_the_evaluators_figures_of_all_frames(matrix: Matrix, tmp_path: Path) -> None:
    jobs = done(matrix, tmp_path)
    labels = tmp_path / "data/training/label_2"
    figures = [Figure.of(text, jobs[0].config) for text in matrix.metrics]
    pool = Pool(matrix, jobs, figures, DRIVES, resamples=2)
    values = []
    for seed in (0, 1):
        folder = union(of(jobs, "student", seed), tmp_path)
        strict = evaluate_folders(labels, folder)["Car"]["bev"]["R40"][1]
        loose = evaluate_kitti(*load_folders(labels, folder), {"Car": 0.5})["Car"]["3d"]["R40"][1]
        values.append([strict, loose])
    assert len({value for pair in values for value in pair}) == 4  # they can tell columns and seeds apart
    for column in (0, 1):
        assert pool.value("student", column).value == pytest.approx(np.mean(values, axis=0)[column], abs=1e-9)
    folder = union(of(jobs, "teacher", 0), tmp_path)
    strict = evaluate_folders(labels, folder)["Car"]["bev"]["R40"][1]
    gain = pool.gain("teacher", "student", 0)
    assert gain is not None
    assert gain.value == pytest.approx(strict - values[0][0], abs=1e-9)
    assert pool.frames("student") == 9


def test_the_bootstrap_is_that_of_plain_numpy(matrix: Matrix, tmp_path: Path) -> None:
    jobs = done(matrix, tmp_path)
    resamples, labels = 25, tmp_path / "data/training/label_2"
    figures = [Figure.of("Car/3d/moderate@0.5", jobs[0].config)]
    pool = Pool(matrix, jobs, figures, DRIVES, resamples)
    drawn = draw_groups(4, resamples)
    assert drawn.shape == (25, 4)
    assert set(drawn.ravel()) == {0, 1, 2, 3}

    def brute(run: str, seed: int) -> np.ndarray:
        truth, found = load_folders(labels, union(of(jobs, run, seed), tmp_path))
        values = []
        for groups in drawn:
            frames = [id for group in groups for id in FRAMES if DRIVES[id] == "PQRS"[group]]
            copies = [{f"copy{n}": rows[id] for n, id in enumerate(frames)} for rows in (truth, found)]
            values.append(evaluate_kitti(*copies, {"Car": 0.5})["Car"]["3d"]["R40"][1])
        return np.array(values, dtype=float)

    seeds = np.random.default_rng([0, 1]).integers(2, size=(resamples, 2))
    own, other = (np.stack([brute(run, seed) for seed in (0, 1)]) for run in ("more", "student"))
    for result, values in ((pool.value("more", 0), own), (pool.gain("more", "student", 0), own - other)):
        assert result is not None
        means = [np.mean([values[seed, n] for seed in seeds[n]]) for n in range(resamples)]
        assert (result.low, result.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-9)
        assert result.low < result.value < result.high


def test_undefined_figures_of_a_resample_do_not_count() -> None:
    one = Scored(np.array([50.0]), np.array([[40.0], [np.nan], [60.0]]))
    result = over_seeds([one], 0)
    assert (result.value, result.low, result.high) == pytest.approx((50, 40.5, 59.5))
    assert over_seeds([Scored(np.array([np.nan]), np.full((3, 1), np.nan))], 0).cells() == ("–", "–")


def test_rows_are_compared_on_the_folds_that_both_have(matrix: Matrix, tmp_path: Path) -> None:
    jobs = [job for job in done(matrix, tmp_path) if job.run != "more" or (job.fold != "b" and job.seed == 0)]
    figures = [Figure.of("Car/bev/moderate", jobs[0].config)]
    pool = Pool(matrix, jobs, figures, DRIVES, resamples=2)
    assert (pool.folds("more", 0), pool.frames("more")) == (("a", "c"), 6)
    parts = []
    for run in ("more", "student"):
        folder = union([job for job in of(jobs, run, 0) if job.fold != "b"], tmp_path)
        parts.append(evaluate_folders(tmp_path / "data/training/label_2", folder)["Car"]["bev"]["R40"][1])
    gain = pool.gain("more", "student", 0)
    assert gain is not None
    assert gain.value == pytest.approx(parts[0] - parts[1], abs=1e-9)
    # A seed that is halfway through does not count.
    fewer = [job for job in jobs if (job.run, job.seed, job.fold) != ("student", 1, "c")]
    assert Pool(matrix, fewer, figures, DRIVES, 2).seeds("student") == [0]


def test_the_table(matrix: Matrix, tmp_path: Path) -> None:
    jobs = done(matrix, tmp_path, seeds=1)
    figures = [Figure.of(text, jobs[0].config) for text in matrix.metrics]
    table = compare_pooled(matrix, jobs, figures, resamples=3)
    assert list(table.columns[0].cells) == ["student", "", "teacher", "", "more", ""]
    assert list(table.columns[1].cells) == ["3 of 3", ""] * 3
    assert list(table.columns[4].cells) == matrix.metrics * 3
    assert [bool(cell) for cell in table.columns[7].cells] == [False] * 2 + [True] * 4
    assert "drives.csv" in str(table.title)
    (jobs[0].folder.results / f"{FRAMES[0]}.txt").unlink()
    with pytest.raises(DataError, match=f"{FRAMES[0]}.txt: missing"):
        compare_pooled(matrix, jobs, figures, resamples=3)


def test_a_run_for_all_folds_is_judged_on_all_frames(matrix: Matrix, tmp_path: Path) -> None:
    lists = tmp_path / "data/ImageSets"
    (lists / "all.txt").write_text("\n".join(FRAMES))
    write_data(tmp_path / "other", FRAMES[:2], [])
    own = ["data.val_split=all", "data.repeat=0", f"data.also={{other: {{root: {tmp_path / 'other'}}}}}"]
    matrix.runs = {"early": RunSpec(shared=True, set=own), "late": RunSpec(initial="early", against="early")}
    jobs = plan(matrix, [0, 1], tmp_path / "runs", [])
    assert [str(job.config.name) for job in jobs if job.run == "early"] == ["early-seed0", "early-seed1"]
    late = {(job.seed, job.fold): str(job.initial) for job in jobs if job.run == "late"}
    assert late == {(seed, fold): str(tmp_path / f"runs/early-seed{seed}") for seed in (0, 1) for fold in FOLDS}
    check_folds(matrix, jobs)
    for number, job in enumerate(jobs):
        finish(job, number)
    figures = [Figure.of(text, jobs[0].config) for text in matrix.metrics]
    labels, early = tmp_path / "data/training/label_2", of(jobs, "early", 1)
    expected = evaluate_folders(labels, union(early, tmp_path))["Car"]["bev"]["R40"][1]
    pool = Pool(matrix, [job for job in jobs if job.seed == 1], figures, DRIVES, resamples=2)
    assert pool.value("early", 0).value == pytest.approx(expected, abs=1e-9)
    assert pool.frames("early") == len(FRAMES)
    table = compare_pooled(matrix, jobs, figures, resamples=2)
    assert list(table.columns[1].cells) == ["none", "", "3 of 3", ""]
    matrix.runs["early"].set = ["data.val_split=${fold}_val"]
    with pytest.raises(ConfigError, match=r"a run for all folds gives no \$\{fold\}; write it to 'set_fold'"):
        plan(matrix, [0], tmp_path / "runs", [])
    matrix.runs["early"].set = ["data.train_split=a_train", "data.val_split=all"]
    with pytest.raises(ConfigError, match=r"early-seed0: is trained on frame 000004, and is judged on frame"):
        check_folds(matrix, plan(matrix, [0], tmp_path / "runs", []))


@pytest.mark.parametrize("role", ["initial", "teacher"])
def test_a_fold_may_not_learn_from_a_run_that_is_trained_on_its_frames(
    matrix: Matrix, tmp_path: Path, role: str
) -> None:
    (tmp_path / "data/ImageSets/last_val.txt").write_text(FRAMES[8])
    early = RunSpec(shared=True, once=True, set=["data.train_split=a_val", "data.val_split=last_val"])
    middle = RunSpec(shared=True, set=["data.train_split=b_val", "data.val_split=last_val"], **{role: "early"})
    for late in (RunSpec(**{role: "early"}), RunSpec(initial="middle")):
        matrix.runs = {"early": early, "middle": middle, "late": late}
        jobs = plan(matrix, [0], tmp_path / "runs", [])
        of_fold = {job.fold: [job] for job in jobs if job.run == "late"}
        check_folds(matrix, of_fold["c"], jobs)
        with pytest.raises(ConfigError, match="late-a-seed0: learns from early-seed0, which is trained on frame 0000"):
            check_folds(matrix, of_fold["a"], jobs)
    with pytest.raises(ConfigError, match="late-b-seed0: learns from middle-seed0, which is trained on frame 0000"):
        check_folds(matrix, of_fold["b"], jobs)


def test_a_fold_may_not_start_from_weights_elsewhere_that_know_its_frames(matrix: Matrix, tmp_path: Path) -> None:
    matrix.runs = {"late": RunSpec(set=["train.initial=" + str(tmp_path / "elsewhere.safetensors")])}
    jobs = plan(matrix, [0], tmp_path / "runs", [])
    elsewhere = jobs[0].config.model_copy(update={"name": "elsewhere"}, deep=True)  # of folds b and c
    elsewhere.train.initial = None
    save_weights(tmp_path / "elsewhere.safetensors", {"weight": torch.zeros(1)}, elsewhere, epoch=1)
    with pytest.raises(ConfigError, match="late-b-seed0: learns from elsewhere, which is trained on frame 000004,"):
        check_folds(matrix, jobs)
    save_weights(tmp_path / "elsewhere.safetensors", {"weight": torch.zeros(1)}, elsewhere, epoch=0)  # an import
    check_folds(matrix, jobs)


def test_without_groups_every_frame_is_one(matrix: Matrix, tmp_path: Path) -> None:
    matrix.groups = None
    jobs = done(matrix, tmp_path, seeds=1)
    assert read_groups(matrix, jobs) == {frame: frame for frame in FRAMES}
    table = compare_pooled(matrix, jobs, [Figure.of("Car/bev/moderate", jobs[0].config)], resamples=2)
    assert "single frames" in str(table.title)


def test_folds_that_share_frames_or_groups_are_refused(matrix: Matrix, tmp_path: Path) -> None:
    jobs = plan(matrix, [0], tmp_path / "runs", [])
    check_folds(matrix, jobs)
    lists = tmp_path / "data/ImageSets"
    (lists / "b_train.txt").write_text("000001\n000006")
    with pytest.raises(ConfigError, match=r"student-b-seed0: is trained on frame 000006, .* group, R;"):
        check_folds(matrix, jobs)
    (lists / "b_val.txt").write_text("000003")
    with pytest.raises(ConfigError, match="'a' and 'b' both judge frame 000003"):
        check_folds(matrix, jobs)
    (lists / "b_val.txt").write_text("\n".join(FOLDS["b"]))
    (lists / "b_train.txt").write_text("000001")
    matrix.runs["more"].set.append("data.train_split=b_val")  # a row with frames of its own
    with pytest.raises(ConfigError, match=r"more-b-seed0: is trained on frame 000004"):
        check_folds(matrix, plan(matrix, [0], tmp_path / "runs", []))
    drives = tmp_path / "data/drives.csv"
    drives.write_text("frame,drive\n000000,P\n")
    with pytest.raises(DataError, match="lacks frame 000001"):
        read_groups(matrix, jobs)
    drives.write_text("frame,drive\n000000\n")
    with pytest.raises(DataError, match=r"drives\.csv:2: 1 columns"):
        read_groups(matrix, jobs)
    drives.unlink()
    with pytest.raises(DataError, match="columns frame and group"):
        read_groups(matrix, jobs)


def test_a_scorer_that_cannot_pool_is_refused_before_training(
    matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KittiScorer, "read", Scorer.read)
    with pytest.raises(ConfigError, match="kitti cannot pool"):
        check_folds(matrix, plan(matrix, [0], tmp_path / "runs", []))


def test_missing_frames_are_named_before_anything_is_trained(matrix: Matrix, tmp_path: Path) -> None:
    jobs = plan(matrix, [0], tmp_path / "runs", [])
    assert missing_frames(jobs) == {}
    (tmp_path / "data/ImageSets/c_val.txt").unlink()
    missing = missing_frames(jobs)
    assert {Path(folder).name for folder in missing} == {f"{run}-c-seed0" for run in matrix.runs}
    assert all("no list for split 'c_val'" in why for why in missing.values())


def test_names_in_the_matrix_are_checked(matrix: Matrix, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fold 'a' gives no \$\{places\}"):
        plan(matrix, [0], tmp_path / "runs", ["data.root=${places}"])
    matrix.folds = {"a": {"places": "somewhere"}}
    assert plan(matrix, [0], tmp_path / "runs", ["data.root=${places}"])[0].config.data.root == Path("somewhere")
    (tmp_path / "matrix.yaml").write_text(TEXT.replace("folds: {a:", "folds: {a/b:"))
    with pytest.raises(ConfigError, match=r"matrix\.yaml: 'folds': 'a/b'"):
        load_matrix(tmp_path / "matrix.yaml")
    config = plan(matrix, [0], tmp_path / "runs", [])[0].config
    for text, says in {"Car/4d": "no figure", "Car/3d/moderate@2": "CLASS/FIGURE@IOU", "mAP_3d@0.5": "CLASS"}.items():
        with pytest.raises(ConfigError, match=says):
            Figure.of(text, config)


def test_scorers_read_what_they_have_written(tmp_path: Path) -> None:
    write_data(tmp_path / "data", FRAMES[:3], [])
    frames = [Kitti(tmp_path / "data", "train")[n] for n in range(3)]
    scorer = KittiScorer()
    kept = {frame.id: (frame.objects, detections(tmp_path / "data", frame.id, 4)) for frame in frames}
    scorer.write(tmp_path / "results", kept)
    assert scorer.score(scorer.read(tmp_path / "results", frames)) == pytest.approx(scorer.score(kept), abs=1e-6)
    assert score_resamples(scorer, kept, DRIVES, ["Car/3d/moderate"], 2).drawn.shape == (2, 1)


def test_rows_without_their_frames_are_skipped_with_a_reason(
    matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del matrix
    (tmp_path / "matrix.yaml").write_text(TEXT.replace("more: {", "more: {teacher: teacher, ").replace(
        "train.batch_size=3", "'distill.unlabelled.paths=[nowhere]'"
    ))  # fmt: skip
    trained: list[str] = []

    def no_training(jobs: list[Job], *_: object) -> dict[str, str]:
        trained.extend(str(job.config.name) for job in jobs)
        return {}

    monkeypatch.setattr(experiment, "run_all", no_training)
    known = parser("")
    add_arguments(known)
    options = known.parse_args([str(tmp_path / "matrix.yaml"), "--seeds", "1", "--runs", str(tmp_path / "runs")])
    experiment.main(options)
    out = capsys.readouterr().out
    assert "skipped: more-a-seed0, more-b-seed0, more-c-seed0: " in out
    assert "nowhere" in out
    assert trained == [f"{run}-{fold}-seed0" for fold in "abc" for run in ("student", "teacher")]
    options.only = ["student"]
    experiment.main(options)
    assert "detections of all folds scored together" in capsys.readouterr().out
    options.only, options.report = None, True
    for job in plan(load_matrix(tmp_path / "matrix.yaml"), [0], tmp_path / "runs/matrix", []):
        finish(job, 0)
    experiment.main(options)
    line = r"^ ?student +3 of 3 +9 +1 +Car/bev/moderate +[\d.]+ +[\d.]+ to [\d.]+ *$"
    assert re.search(line, capsys.readouterr().out, re.M)  # whole, though the output is 80 columns wide
    options.report = False
    options.only = ["mroe"]
    with pytest.raises(ConfigError, match=r"--only mroe: .* student, teacher, more"):
        experiment.main(options)
    options.only = None
    options.overrides = [f"data.root={tmp_path / 'missing'}"]
    with pytest.raises(MinkPDError, match=r"missing/training: no such folder"):
        experiment.main(options)


def test_one_group_alone_has_no_interval(matrix: Matrix, tmp_path: Path) -> None:
    (tmp_path / "data/drives.csv").write_text("".join(f"{frame},P\n" for frame in FRAMES))
    jobs = done(matrix, tmp_path, seeds=1)
    pool = Pool(matrix, jobs, [Figure.of("Car/bev/moderate", jobs[0].config)], dict.fromkeys(FRAMES, "P"), resamples=5)
    value = pool.value("student", 0)
    assert not np.isnan(value.value)
    assert value.cells() == (f"{value.value:.1f}", "–")


def test_a_gain_is_paired_by_seed_while_the_other_row_is_unfinished(matrix: Matrix, tmp_path: Path) -> None:
    jobs = done(matrix, tmp_path, seeds=2)
    figure = [Figure.of("Car/bev/moderate", jobs[0].config)]
    there = [job for job in jobs if (job.run, job.seed) != ("student", 0)]
    whole, part = (Pool(matrix, some, figure, DRIVES, resamples=3) for some in (jobs, there))
    gain, wanted = (
        part.gain("more", "student", 0),
        whole._score("more", 1, ("a", "b", "c")) - whole._score("student", 1, ("a", "b", "c")),
    )
    assert gain is not None
    assert gain.value == pytest.approx(wanted.all[0], abs=1e-9)
