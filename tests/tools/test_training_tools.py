"""train.py, distill.py, eval_kitti.py and detect.py as a user calls them, on six tiny frames."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from safetensors.torch import load_file

from mink_pd.config import load_config
from mink_pd.errors import ConfigError
from mink_pd.experiments.finished_runs import read_runs
from mink_pd.models.checkpoint import load_detector
from mink_pd.train.loop import Trainer

ROOT = Path(__file__).resolve().parents[2]
Tool = Callable[..., CompletedProcess]


def one_error(result: CompletedProcess, *parts: object) -> None:
    """The tool ended with exit code 2 and one line that holds ``parts``."""
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert str(part) in lines[0]


def test_a_run_folder_has_everything(teacher: Path, config: Path, teacher_settings: tuple[str, ...]) -> None:
    names = {path.name for path in teacher.iterdir()}
    assert {"config.yaml", "environment.txt", "metrics.jsonl", "checkpoints", "results", "figures"} <= names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    checkpoints = {path.name for path in (teacher / "checkpoints").iterdir()}
    assert (
        {"last.safetensors", "last.state.pt"}
        <= checkpoints
        <= {"last.safetensors", "last.state.pt", "best.safetensors"}
    )
    assert {path.name for path in (teacher / "results").iterdir()} == {f"00000{i}.txt" for i in range(4)}
    assert load_config(teacher / "config.yaml") == load_config(config, list(teacher_settings))
    environment = (teacher / "environment.txt").read_text()
    for fact in ("torch: ", "python: ", "commit: ", "threads: 1", "name=teacher", "OPENBLAS_NUM_THREADS: 1"):
        assert fact in environment
    rows = [json.loads(line) for line in (teacher / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["split"] == "train"] == list(range(1, 61))
    assert [row["epoch"] for row in rows if row["split"] == "val"] == [30, 60]
    assert rows[0]["loss"] == pytest.approx(sum(rows[0][name] for name in ("classification", "box", "direction")))


def test_output_in_a_log_is_one_line_an_event(config: Path, tool: Tool) -> None:
    result = tool("train.py", config, "name=log", "train.epochs=1")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    starts = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert starts == ["epoch 1/1", "epoch 1/1", f"{config.parent / 'runs' / 'log'}: done"]
    one_error(tool("train.py", config, "name=log", "train.epochs=1"), "log", "--resume", "--force", "name=")
    assert tool("train.py", config, "name=log", "train.epochs=1", "--force").returncode == 0


def test_an_interrupted_run_resumes_to_the_same_bits(config: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Trainer.save

    def interrupted(trainer: Trainer) -> None:
        save(trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", interrupted)
        result = tool("train.py", config, "name=resumed")
    assert result.returncode == 130
    assert "stopped after epoch 1; --resume continues it" in result.stdout
    result = tool("train.py", config, "name=resumed", "--resume")
    assert result.returncode == 0, result.stderr
    assert tool("train.py", config, "name=whole").returncode == 0
    runs = config.parent / "runs" / "whole", config.parent / "runs" / "resumed"
    whole, resumed = (load_file(run / "checkpoints" / "last.safetensors") for run in runs)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    for one, other in zip(*rows, strict=True):
        clock = {"frames_per_second": 0, "seconds": 0}
        assert {**one, **clock} == {**other, **clock}


def test_a_finished_run_says_so(teacher: Path, config: Path, teacher_settings: tuple[str, ...], tool: Tool) -> None:
    before = (teacher / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    result = tool("train.py", config, "--resume", *teacher_settings)
    assert result.returncode == 0
    assert "nothing to resume" in result.stdout
    assert (teacher / "checkpoints" / "last.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epoch=3", ["train.epochs"]),
        ("data.root=/no/such/place", ["/no/such/place"]),
        ("train.best_metric=map", ["train.best_metric"]),
        ("evaluate.scorer=clouds train.best_metric=Car/heading_error", ["less of 'Car/heading_error' is better"]),
        ("train.accelerator=abacus", ["train.accelerator"]),
    ],
)
def test_wrong_settings_are_one_line_and_leave_no_run_folder(
    config: Path, tool: Tool, override: str, parts: list[str]
) -> None:
    one_error(tool("train.py", config, "name=wrong", *override.split()), *parts)
    assert not (config.parent / "runs" / "wrong").exists()


def test_a_class_that_kittis_files_cannot_hold_is_refused_before_training(config: Path, tool: Tool) -> None:
    anchor = "{size: [4, 1.6, 1.5], z: -1, matched: 0.6, unmatched: 0.45}"
    both = "data.classes=[Car,Traffic Cone]", f"model.anchors={{Car: {anchor}, Traffic Cone: {anchor}}}"
    one_error(tool("train.py", config, "name=wrong", *both), "'Traffic Cone' has white space")
    assert not (config.parent / "runs" / "wrong").exists()


def test_distilling_exports_the_student_alone(teacher: Path, config: Path, tool: Tool) -> None:
    result = tool("distill.py", config, "--teacher", teacher, "model.compression=4", "name=distilled")
    assert result.returncode == 0, result.stderr
    run = teacher.parent / "distilled"
    tensors = load_file(run / "checkpoints" / "last.safetensors")
    student, settings = load_detector(run)
    assert settings.model.compression == 4
    assert tensors.keys() == student.state_dict().keys()
    assert sum(t.numel() for t in tensors.values()) < 0.5 * sum(
        t.numel() for t in load_file(teacher / "checkpoints" / "last.safetensors").values()
    )
    recorded = json.loads((run / "files.json").read_text())["teacher"]
    assert recorded["path"] == str(teacher / "checkpoints" / "last.safetensors")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("pointdistiller" in name for name in rows[0])
    assert "the student starts from a part of the teacher's weights" in result.stdout
    inherits = {each.folder.path.name: each.inherits for each in read_runs([run, teacher])[0]}
    assert inherits == {run.name: True, teacher.name: False}


def test_weighing_methods_names_the_weight_for_a_share(teacher: Path, config: Path, tool: Tool) -> None:
    call = [
        "weigh_methods.py",
        config,
        "model.compression=4",
        "--teacher",
        teacher,
        "--methods",
        "fitnets",
        "--batches",
        1,
    ]
    first = tool(*call, "--share", 0.3)
    assert first.returncode == 0, first.stderr
    row = next(line for line in first.stdout.splitlines() if "fitnets" in line)
    weight, _, _, wanted = (float(cell) for cell in row.replace("│", " ").split()[1:])
    assert weight == 1
    second = tool(*call, f"distill.fitnets.weight={wanted}")
    row = next(line for line in second.stdout.splitlines() if "fitnets" in line)
    assert float(row.replace("│", " ").split()[3]) == pytest.approx(0.3, rel=0.02)


def test_evaluation_repeats_the_last_validation(teacher: Path, config: Path, tool: Tool, tmp_path: Path) -> None:
    options = ("--checkpoint", teacher, "--split", "train", "--json", tmp_path / "a.json")
    result = tool("eval_kitti.py", *options)
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["Car"]["bev"]["R40"][1] > 0
    last = json.loads((teacher / "metrics.jsonl").read_text().splitlines()[-1])
    for level, value in zip(("easy", "moderate", "hard"), figures["Car"]["3d"]["R40"], strict=True):
        assert value == last[f"Car/3d/{level}"]
    labels = load_config(teacher / "config.yaml").data.root / "training" / "label_2"
    files = ("--labels", labels, "--detections", teacher / "results", "--json", tmp_path / "b.json")
    result = tool("eval_kitti.py", *files)
    assert result.returncode == 0, result.stderr
    again = json.loads((tmp_path / "b.json").read_text())
    for name, metric, recall in product(figures, ("bbox", "aos", "bev", "3d"), ("R40", "R11")):
        # Files hold alpha to six decimals.
        assert again[name][metric][recall] == pytest.approx(figures[name][metric][recall], abs=1e-4)


def test_what_contradicts_the_checkpoint_is_named(teacher: Path, config: Path, tool: Tool) -> None:
    file = teacher / "checkpoints" / "last.safetensors"
    for key, value in (("model.compression", "4"), ("model.voxel_size", "[0.2,0.2,4]"), ("data.classes", "[Car]")):
        for words in ((config, f"{key}={value}"), (f"{key}={value}",)):
            one_error(tool("eval_kitti.py", *words, "--checkpoint", teacher), file, f"leave {key} out")


def test_decoding_on_the_command_line_is_told(teacher: Path, config: Path, tool: Tool) -> None:
    result = tool("eval_kitti.py", config, "--checkpoint", teacher, "model.nms.score=0.99", "--split", "train")
    assert result.returncode == 0, result.stderr
    assert "model.nms.score=0.99 instead of the checkpoint's" in result.stdout


def test_where_figures_go_is_checked_before_the_work(teacher: Path, tool: Tool, tmp_path: Path) -> None:
    result = tool("eval_kitti.py", "--checkpoint", teacher / "none", "--json", tmp_path / "no" / "a.json")
    one_error(result, tmp_path / "no" / "a.json", "cannot be written")


def test_evaluation_wants_one_kind_of_input(config: Path, tool: Tool) -> None:
    one_error(tool("eval_kitti.py", config), "--checkpoint")
    one_error(tool("eval_kitti.py", "--labels", "x"), "--detections")


def test_a_moved_run_still_detects(teacher: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    lone = tmp_path / "detector.safetensors"
    lone.write_bytes((teacher / "checkpoints" / "last.safetensors").read_bytes())
    for checkpoint, out in ((teacher, tmp_path / "a"), (lone, tmp_path / "b")):
        result = tool("detect.py", checkpoint, data, "--out", out)
        assert result.returncode == 0, result.stderr
        assert len(list(out.glob("*.txt"))) == 6
    for name in ("000000.txt", "000003.txt"):  # one frame at a time finds what validation found in batches
        one = np.loadtxt(tmp_path / "a" / name, usecols=range(3, 16), ndmin=2)
        batch = np.loadtxt(teacher / "results" / name, usecols=range(3, 16), ndmin=2)
        np.testing.assert_allclose(one, batch, atol=1e-3)
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_empty_and_far_clouds_give_files_without_boxes(teacher: Path, tool: Tool, tmp_path: Path) -> None:
    clouds = tmp_path / "clouds"
    clouds.mkdir()
    (clouds / "empty.bin").touch()
    np.tile(np.array([500, 500, 500, 0.5], np.float32), (10, 1)).tofile(clouds / "far.bin")
    result = tool("detect.py", teacher, clouds, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    for name in ("empty", "far"):
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["boxes"] == []


def test_a_bad_cloud_is_named_and_the_others_are_done(teacher: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    good, bad = data / "training" / "velodyne" / "000000.bin", tmp_path / "bad.bin"
    bad.write_bytes(good.read_bytes()[:-3])
    result = tool("detect.py", teacher, bad, good, "--out", tmp_path / "out")
    one_error(result, f"{bad}: ", "1 of 2 clouds cannot be read, the others are done")
    assert [file.stem for file in (tmp_path / "out").glob("00*")] == ["000000"]


def test_a_cut_to_the_cameras_view_is_told(teacher: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    """Whoever has no camera, but calib files that claim one, would miss what lies behind the sensor."""
    cloud = data / "training" / "velodyne" / "000000.bin"
    told = "clouds were cut to the camera's view"
    assert f"{tmp_path / 'view'}: {told}" in tool("detect.py", teacher, cloud, "--out", tmp_path / "view").stdout
    (tmp_path / "lone.bin").write_bytes(cloud.read_bytes())
    for name, words in {"all": (cloud, "--all-around"), "lone": (tmp_path / "lone.bin",)}.items():
        assert told not in tool("detect.py", teacher, *words, "--out", tmp_path / name).stdout


def test_detecting_in_a_lone_cloud_with_a_score(teacher: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes((data / "training" / "velodyne" / "000004.bin").read_bytes())
    counts = {}
    for score in (0.0, 1.0):
        out = tmp_path / str(score)
        result = tool("detect.py", teacher, "--out", out, tmp_path / "one.bin", "--score", score)
        assert result.returncode == 0, result.stderr
        rows = json.loads((out / "one.json").read_text())
        counts[score] = len(rows["boxes"])
        assert len(rows["names"]) == len(rows["scores"]) == counts[score]
    assert counts[0.0] > counts[1.0] == 0


def test_no_checkpoint_there(config: Path, tool: Tool, tmp_path: Path) -> None:
    one_error(tool("detect.py", tmp_path / "no.safetensors", "--out", tmp_path / "out", "x.bin"), "no.safetensors")
    one_error(tool("distill.py", config, "--teacher", tmp_path, "name=x"), tmp_path)


def test_an_error_is_one_line_in_a_process_of_its_own(config: Path) -> None:
    """The same from outside: nothing that is imported may add to stderr; --debug shows the traceback."""
    command = [sys.executable, ROOT / "tools" / "train.py", config, "train.epoch=1"]
    one_error(subprocess.run(command, capture_output=True, text=True), "train.epochs")


def test_debug_shows_where_an_error_comes_from(config: Path, tool: Tool) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs"):
        tool("train.py", config, "--debug", "train.epoch=1")


def test_kitti_files_of_own_classes(teacher: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    folders = (tmp_path / "labels", tmp_path / "found")
    for source, folder in zip((data / "training" / "label_2", teacher / "results"), folders, strict=True):
        folder.mkdir()
        for path in (source / f"{frame}.txt" for frame in ("000000", "000001")):
            (folder / path.name).write_text(path.read_text().replace("Car", "Forklift"))
    files = ("--labels", folders[0], "--detections", folders[1])
    one_error(tool("eval_kitti.py", *files), "unknown class 'Forklift'", "--classes")
    figures = []
    for iou in ("0.1", "0.9"):
        own = ("--classes", "Forklift", "--min-iou", f"Forklift={iou}")
        result = tool("eval_kitti.py", *files, "--json", tmp_path / "a.json", *own)
        assert result.returncode == 0, result.stderr
        assert f"Forklift ({iou})" in result.stdout
        figures.append(json.loads((tmp_path / "a.json").read_text())["Forklift"]["3d"]["R40"][1])
    assert figures[0] > figures[1]
    one_error(
        tool("eval_kitti.py", *files, "--classes", "Forklift", "--min-iou", "Car=0.5"), "--min-iou Car", "Forklift"
    )
    assert "not CLASS=IOU" in tool("eval_kitti.py", *files, "--min-iou", "Car=7").stderr


def test_evaluation_of_some_of_the_detectors_classes(teacher: Path, config: Path, tool: Tool) -> None:
    call = ("eval_kitti.py", config, "--checkpoint", teacher, "--split", "train", "--classes")
    result = tool(*call, "Car")
    assert result.returncode == 0, result.stderr
    assert "mAP over Car, moderate" in result.stdout
    assert "Pedestrian" not in result.stdout
    one_error(tool(*call, "Van"), "--classes Van: the detector finds Car, Pedestrian, Cyclist")


def test_searching_for_a_class_that_the_detector_lacks(teacher: Path, data: Path, tool: Tool) -> None:
    one_error(tool("find_objects.py", teacher, data, "--class", "Van"), "the detector finds Car")
