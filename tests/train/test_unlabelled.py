"""Distillation with unlabelled frames: sources, scores, training, resuming, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cloud_folders import from_kitti
from recording_writers import make_points, write_mcap
from safetensors.torch import load_file
from stopped_training import stopped_after
from tiny_kitti import settings, write_data

from mink_pd.cli import parser
from mink_pd.commands.arguments.distill import add_arguments
from mink_pd.commands.distill import unlabelled_settings
from mink_pd.config import Config, load_config
from mink_pd.config.unlabelled import UnlabelledConfig
from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.data.frame import Frame
from mink_pd.detect.predict import FrameDetections, detect_frames, to_objects, write_results
from mink_pd.distill.unlabelled import Levels
from mink_pd.errors import ConfigError, DataError, MinkPDError
from mink_pd.models.checkpoint import checkpoint_file, load_detector
from mink_pd.train.reporter import read_metrics
from mink_pd.train.start import distil, train_detector
from mink_pd.train.unlabelled import Unlabelled, choose_levels, open_source

STUDENT = ("model.compression=4", "data.train_split=few", "train.validate_every=0")
UNREACHED = "distill.unlabelled.upper={Car: 0.99, Pedestrian: 0.99, Cyclist: 0.99}"
Make = Callable[..., Config]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher trained on five frames, and a split with two of them; four frames to look at."""
    root = tmp_path_factory.mktemp("unlabelled")
    ids = [f"{n:06d}" for n in range(9)]
    write_data(root / "kitti", ids[:5], ids[5:])
    (root / "kitti" / "ImageSets" / "few.txt").write_text("\n".join(ids[:2]))
    (root / "kitti" / "ImageSets" / "more.txt").write_text("\n".join(ids[2:5]))
    (root / "clouds").mkdir()
    shutil.copy(root / "kitti" / "training" / "velodyne" / "000003.bin", root / "clouds" / "other.bin")
    (root / "tiny.yaml").write_text(yaml.safe_dump(settings(root / "kitti", root / "runs")))
    train_detector(load_config(root / "tiny.yaml", ["name=teacher", "train.validate_every=0", "train.epochs=4"]))
    return root


@pytest.fixture(scope="module")
def scores(folder: Path) -> tuple[float, float]:
    """An upper and a lower score that some boxes of this poor teacher reach."""
    teacher, config = load_detector(teacher_of(folder))
    dataset = open_dataset(KittiConfig(root=folder / "kitti"), "more")
    found = [boxes.scores for _, boxes in detect_frames(teacher, (dataset[index] for index in range(3)), config)]
    upper, lower = np.quantile(np.concatenate(found), [0.8, 0.5]).round(4)
    assert 0.01 < lower < upper
    return float(upper), float(lower)


@pytest.fixture
def make(folder: Path, tmp_path: Path, scores: tuple[float, float]) -> Make:
    """The student's configuration, with its run below ``tmp_path``."""

    def configure(*overrides: str, paths: list[str] | None = None) -> Config:
        own = [f"{folder / 'kitti'}:more"] if paths is None else paths
        given = [f"distill.unlabelled.paths={json.dumps(own)}", f"runs={tmp_path / 'runs'}", "name=student"]
        for key, score in zip(("upper", "lower"), scores, strict=True):
            levels = dict.fromkeys(("Car", "Pedestrian", "Cyclist"), score)
            given.append(f"distill.unlabelled.{key}={json.dumps(levels)}")
        return load_config(folder / "tiny.yaml", [*STUDENT, *given, *overrides])

    return configure


def teacher_of(folder: Path) -> Path:
    return checkpoint_file(folder / "runs" / "teacher")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "last.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_resumed_run_is_the_same_bit_for_bit(
    folder: Path, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = distil(make(), teacher_of(folder))
    said = capsys.readouterr().out
    assert "3 unlabelled frames of" in said
    assert "objects from, ignored from a score of: Car 0." in said
    assert "an unlabelled frame:" in said
    (last,) = [row for row in read_metrics(whole.metrics) if row["split"] == "train" and row["epoch"] == 2]
    assert last["unlabelled/kept"] > 0
    assert last["unlabelled/ignored"] > 0
    with stopped_after(1):
        distil(make("name=halfway"), teacher_of(folder))
    shutil.copytree(folder / "kitti", tmp_path / "moved")
    moved = make("name=halfway", f"data.root={tmp_path / 'moved'}", paths=[f"{tmp_path / 'moved'}:more"])
    resumed = distil(moved, teacher_of(folder), resume=True)
    assert same(weights(resumed.path), weights(whole.path))
    cloud = tmp_path / "moved" / "training" / "velodyne" / "000004.bin"
    cloud.write_bytes(cloud.read_bytes()[:-16])
    with pytest.raises(ConfigError, match="another unlabelled"):
        distil(moved.model_copy(update={"name": "halfway"}, deep=True), teacher_of(folder), resume=True)
    alone = distil(make("name=alone", paths=[]).model_copy(), teacher_of(folder))
    assert not same(weights(alone.path), weights(whole.path))


def test_without_any_labelled_frame(folder: Path, make: Make) -> None:
    """Neither the split nor its labels exist."""
    config = make("distill.unlabelled.share=1", "data.train_split=absent")
    run = distil(config, teacher_of(folder))
    rows = read_metrics(run.metrics)
    assert rows[0]["unlabelled/kept"] > 0
    with pytest.raises(MinkPDError, match="no box in the unlabelled frames was sure enough"):
        distil(make("distill.unlabelled.share=1", UNREACHED, "name=unsure"), teacher_of(folder))


def test_frames_without_points_or_objects(folder: Path, make: Make, tmp_path: Path) -> None:
    empty = tmp_path / "clouds"
    empty.mkdir()
    for number in range(2):
        np.zeros((0, 4), np.float32).tofile(empty / f"{number}.bin")
    run = distil(make("train.epochs=1", paths=[str(empty)]), teacher_of(folder))
    assert read_metrics(run.metrics)[0]["unlabelled/kept"] == 0


def test_a_later_run_of_one_process_looks_at_the_folder_anew(
    folder: Path, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "clouds"
    shutil.copytree(folder / "clouds", own)
    config = make("train.epochs=1", paths=[str(own)])
    distil(config, teacher_of(folder))
    shutil.copy(own / "other.bin", own / "third.bin")
    with pytest.raises(ConfigError, match="another unlabelled"):
        distil(config, teacher_of(folder), resume=True)
    capsys.readouterr()
    distil(config, teacher_of(folder), force=True)
    said = capsys.readouterr().out
    assert said.count("2 unlabelled frames of") == said.count("objects from, ignored from") == 1


def test_boxes_of_files_stand_for_labels(folder: Path, make: Make, tmp_path: Path, scores: tuple[float, float]) -> None:
    """The labels themselves, as a detector's files, once in KITTI's format and once in the LiDAR frame."""
    dataset = open_dataset(KittiConfig(root=folder / "kitti"), "more")
    frames = [dataset[index] for index in range(3)]
    found = [FrameDetections(frame.boxes, frame.names, np.array([0.9, sum(scores) / 2])) for frame in frames]
    write_results(tmp_path / "kitti", {f.id: to_objects(f, boxes) for f, boxes in zip(frames, found, strict=True)})
    (tmp_path / "json").mkdir()
    for frame, boxes in zip(frames, found, strict=True):
        rows = {"boxes": boxes.boxes.tolist(), "names": boxes.names.tolist(), "scores": boxes.scores.tolist()}
        (tmp_path / "json" / f"{frame.id}.json").write_text(json.dumps(rows))
    results = []
    for name in ("kitti", "json"):
        config = make(f"distill.unlabelled.boxes={tmp_path / name}", f"name={name}", "train.epochs=1")
        run = distil(config, teacher_of(folder))
        row = read_metrics(run.metrics)[0]
        results.append([row["unlabelled/kept"], row["unlabelled/ignored"], row["box"]])
    assert results[0][:2] == [1, 1]
    assert results[0] == pytest.approx(results[1], rel=1e-4)
    (tmp_path / "json" / "000003.json").unlink()
    with pytest.raises(DataError, match=r"000003\.json: missing"):
        Unlabelled(make(f"distill.unlabelled.boxes={tmp_path / 'json'}"))
    (tmp_path / "kitti" / "000004.txt").unlink()
    with pytest.raises(DataError, match=r"000004\.txt: missing"):
        Unlabelled(make(f"distill.unlabelled.boxes={tmp_path / 'kitti'}"))


def test_every_kind_of_source(folder: Path, tmp_path: Path) -> None:
    data = KittiConfig(root=folder / "kitti")
    assert len(open_source(f"{folder / 'kitti'}:few", data)) == 2
    assert open_source(":few", data).ids == ["000000", "000001"]
    assert len(open_source(str(folder / "kitti"), data)) == 9
    write_mcap(tmp_path / "drive.mcap", [make_points(50)] * 2, [10**9, 2 * 10**9])
    assert len(open_source(str(tmp_path / "drive.mcap"), data)) == 2
    clouds = from_kitti(folder / "kitti", tmp_path / "clouds", ["000003", "000004"])
    assert open_source(str(clouds), data).ids == ["000003", "000004"]
    calib = folder / "kitti" / "training" / "calib" / "000003.txt"
    bare, cut = (open_source(str(folder / "clouds"), data, calib=each)[0] for each in (None, calib))
    assert bare.calibration is None
    np.testing.assert_array_equal(cut.points, open_source(":more", data)[1].points)
    assert len(cut.points) < len(bare.points)
    with pytest.raises(DataError, match="no such file"):
        open_source(str(tmp_path / "nowhere"), data)
    with pytest.raises(DataError, match="absent"):
        open_source(f"{folder / 'kitti'}:absent", data)


def test_a_folder_lends_only_what_no_split_has(folder: Path, make: Make) -> None:
    """Training on the validation frames' clouds would flatter the figures."""
    unlabelled = Unlabelled(make(paths=[str(folder / "kitti")]))
    assert unlabelled.frames.ids == ["000002", "000003", "000004"]
    assert unlabelled.inputs == [folder / "kitti"]
    assert Unlabelled(make(paths=[":more"])).inputs == [folder / "kitti"]
    assert any("6 others are labelled or validation frames" in note for note in unlabelled.notes)
    with pytest.raises(ConfigError, match="all 4 frames"):
        Unlabelled(make(paths=[":val"]))


def test_copies_of_validation_clouds_are_left_out(folder: Path, make: Make, tmp_path: Path) -> None:
    """Whatever they are called, and from both folders of KITTI's layout, of which one is read; recordings are not
    compared."""
    shutil.copytree(folder / "kitti", tmp_path / "kitti")
    scans = tmp_path / "kitti" / "training"
    shutil.copytree(scans / "velodyne", scans / "velodyne_reduced")
    for cloud in (scans / "velodyne").iterdir():
        cloud.write_bytes(cloud.read_bytes()[16:])  # the reduced ones lack other points
    (tmp_path / "copies").mkdir()
    for name in ("000004", "000007"):
        for kind in ("velodyne", "velodyne_reduced"):
            shutil.copy(scans / kind / f"{name}.bin", tmp_path / "copies" / f"{name}_{kind}.bin")
    write_mcap(tmp_path / "drive.mcap", [make_points(50)] * 2, [10**9, 2 * 10**9])
    root = f"data.root={tmp_path / 'kitti'}"
    unlabelled = Unlabelled(make(root, paths=[str(tmp_path / "copies"), str(tmp_path / "drive.mcap")]))
    assert unlabelled.frames.ids == ["000004_velodyne", "000004_velodyne_reduced", "000000", "000001"]
    assert unlabelled.frames.left_out == 2
    (note,) = [note for note in unlabelled.notes if "drive.mcap are validation frames" in note]
    assert note.endswith("see to it that none is")


def test_what_does_not_fit_is_refused_in_a_line(folder: Path, make: Make) -> None:
    teacher, _ = load_detector(teacher_of(folder))
    faults = {
        ("distill.unlabelled.share=0.2",): "leaves no unlabelled one",
        ("distill.unlabelled.share=0.9",): "leaves no labelled one",
        ("distill.unlabelled.upper={Bus: 0.5}",): "upper.Bus: not in data.classes",
        ("distill.unlabelled.lower.Car=0.5",): r"lower.Car 0\.5 is above upper.Car",
        ("distill.unlabelled.upper_precision=0.3",): "above upper_precision",
        ("distill.unlabelled.lower.Car=0.005",): r"below 0\.01, the lowest score of the teacher",
        ("distill.unlabelled.lower={}", "distill.unlabelled.held_out=val"): "4 of 4 frames are validation frames",
        (
            "distill.unlabelled.lower={}",
            "distill.unlabelled.held_out=all",
        ): r"4 of 9 .* \(000005, 000006, .*name others",
        ("distill.unlabelled.lower={}", "distill.unlabelled.share=1"): "name the split to choose scores on",
    }
    for overrides, text in faults.items():
        with pytest.raises(ConfigError, match=text) as error:
            Unlabelled(make(*overrides)).labels(teacher)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="name them in"):
        load_config(folder / "tiny.yaml", ["distill.unlabelled.boxes=somewhere"])


def test_scores_are_chosen_on_the_frames_that_are_named(folder: Path, make: Make) -> None:
    teacher, config = load_detector(teacher_of(folder))
    rule = ("upper={Pedestrian: 0.5}", "lower={}", "held_out=:more", "upper_precision=0.6", "lower_precision=0.3")
    given = make(*(f"distill.unlabelled.{part}" for part in rule))
    unlabelled = Unlabelled(given)
    dataset = open_dataset(given.data, "more")
    frames = [dataset[index] for index in range(3)]
    found = [boxes for _, boxes in detect_frames(teacher, frames, config)]
    wanted = choose_levels(frames, found, given.data.classes, given.distill.unlabelled)
    assert unlabelled.labels(teacher).levels == list(wanted.values())
    assert wanted["Pedestrian"].upper == 0.5
    assert any("scores chosen on 3 labelled frames of :more" in note for note in unlabelled.notes)


@pytest.mark.parametrize(
    ("taught_on", "said"),
    [
        ({}, "the teacher was trained on them, so the scores are too low"),
        ({"max_frames": 3}, "the teacher was trained on 1 of them, so"),
        ({"root": Path("absent")}, "the teacher's training frames cannot be opened"),
        ({"train_split": "few"}, None),
    ],
)
def test_scores_chosen_on_frames_that_the_teacher_knows_are_doubted(
    folder: Path, make: Make, taught_on: dict, said: str | None
) -> None:
    """Frames are compared: `more` has three of the five frames of the teacher's split `train`."""
    teacher, _ = load_detector(teacher_of(folder))
    teacher.config.data = teacher.config.data.model_copy(update=taught_on)
    unlabelled = Unlabelled(make("distill.unlabelled.lower={}", "distill.unlabelled.held_out=:more"))
    unlabelled.labels(teacher)
    (note,) = [note for note in unlabelled.notes if "scores chosen on 3 labelled frames of :more" in note]
    assert said in note if said else "the teacher" not in note


def scene(right: int, wrong: int, scores: list[float], name: str = "Car") -> tuple[Frame, FrameDetections]:
    """Objects in a row, boxes on the first ``right`` of them, and boxes where nothing is; scores in that order."""
    boxes = np.array([[10.0 * n, 0, 0, 4, 2, 1.5, 0] for n in range(right + wrong)], np.float32)
    off = boxes + np.array([0, 100, 0, 0, 0, 0, 0]) * (np.arange(len(boxes)) >= right)[:, None]
    frame = Frame("0", np.zeros((0, 4), np.float32), boxes, np.array([name] * len(boxes)))
    return frame, FrameDetections(off, np.array([name] * len(boxes)), np.array(scores))


def test_the_rule_by_hand() -> None:
    frame, found = scene(6, 6, [0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.65, 0.45, 0.4, 0.3, 0.25, 0.1])
    rule = UnlabelledConfig(upper_precision=1.0, lower_precision=0.7)
    # Right and wrong by score: + + + - + + - - - - + -; 5 of 7 are right down to 0.45, 5 of 8 down to 0.4.
    assert choose_levels([frame], [found], ["Car", "Van"], rule) == {
        "Car": Levels(0.7, 0.45),
        "Van": Levels(np.inf, -np.inf),  # too few to say
    }
    given = rule.model_copy(update={"upper": {"Car": 0.3}})
    assert choose_levels([frame], [found], ["Car"], given) == {"Car": Levels(0.3, 0.3)}
    given = rule.model_copy(update={"lower": {"Car": 0.75}})
    assert choose_levels([frame], [found], ["Car"], given) == {"Car": Levels(0.75, 0.75)}
    never, wrong = scene(0, 12, [0.5] * 12)
    assert choose_levels([never], [wrong], ["Car"], rule) == {"Car": Levels(np.inf, -np.inf)}


def test_the_command_line() -> None:
    known = parser("", "distill")
    add_arguments(known)
    words = ["CONFIG", "--teacher", "runs/teacher", "--unlabelled", "a", "b:test", "model.compression=4"]
    words += ["--boxes", "found"]
    options = known.parse_intermixed_args(words)
    assert unlabelled_settings(options) == [
        "model.compression=4",
        'distill.unlabelled.paths=["a", "b:test"]',
        'distill.unlabelled.boxes="found"',
    ]


def test_sweeps_of_judged_scenes_are_left_out(nuscenes_root: Path) -> None:
    """A scene for training and two that are judged: only the former's turns between keyframes are free."""
    data = {"kind": "nuscenes", "root": str(nuscenes_root), "classes": ["car"]}
    unlabelled = {"paths": [str(nuscenes_root / "sweeps" / "LIDAR_TOP")]}
    sections = {"data": data, "model": {"name": "centerpoint_pillars"}, "distill": {"unlabelled": unlabelled}}
    config = Config.model_validate(sections)
    frames = Unlabelled(config).frames
    every = {path.name for path in (nuscenes_root / "sweeps" / "LIDAR_TOP").iterdir()}
    judged = open_dataset(config.data, "val")
    used = {path.name for index in range(len(judged)) for path in judged.paths(index) if path.name.endswith(".pcd.bin")}
    assert {f"{id}.pcd.bin" for id in frames.ids} == every - used
    assert 0 < len(frames) < len(every)
    assert frames[0].points.shape[1] == 5
    assert frames[0].velocities is not None
