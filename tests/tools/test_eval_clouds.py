"""eval_clouds.py as a user calls it: a detector and its files score alike, whatever the classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mink_pd.train.reporter import read_metrics

Tool = Callable
ANCHOR = {"size": [4, 1.6, 1.5], "z": -1, "matched": 0.6, "unmatched": 0.45}


@pytest.fixture(scope="module")
def forklifts(data: Path, config: Path, tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration whose data hold forklifts, and a run trained on it with the scorer of any classes."""
    root = tmp_path_factory.mktemp("yard")
    for part in ("velodyne", "calib", "label_2"):
        (root / "training" / part).mkdir(parents=True)
        for file in (data / "training" / part).iterdir():
            content = file.read_bytes()
            (root / "training" / part / file.name).write_bytes(
                content.replace(b"Car ", b"Forklift ") if part == "label_2" else content
            )
    (root / "ImageSets").symlink_to(data / "ImageSets")
    settings = yaml.safe_load(config.read_text())
    settings["data"] |= {
        "root": str(root),
        "classes": ["Forklift"],
        "val_split": "train",
        "augment": {"enabled": False},
    }
    settings["model"]["anchors"] = {"Forklift": ANCHOR}
    settings["train"] |= {"epochs": 60, "validate_every": 60, "learning_rate": 0.01, "best_metric": "Forklift/3d"}
    settings["evaluate"] = {"scorer": "clouds", "min_iou": {"Forklift": 0.4}}
    path = root / "forklifts.yaml"
    path.write_text(yaml.safe_dump(settings | {"runs": str(root / "runs"), "name": "yard"}))
    result = tool("train.py", path)
    assert result.returncode == 0, result.stderr
    assert "mAP_distance" in result.stdout
    return path, root / "runs" / "yard"


def figures(tool: Tool, out: Path, *arguments: object) -> dict:
    result = tool("eval_clouds.py", *arguments, "--json", out)
    assert result.returncode == 0, result.stderr
    return json.loads(out.read_text())


def test_a_run_its_files_and_its_log_agree(forklifts: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    config, run = forklifts
    assert (run / "checkpoints" / "best.safetensors").exists()
    ours = figures(tool, tmp_path / "a.json", "--checkpoint", run)
    assert ours["classes"]["Forklift"]["3d"] > 0
    assert ours["classes"]["Forklift"]["objects"] == 8
    last = read_metrics(run / "metrics.jsonl")[-1]
    for name, value in ours["classes"]["Forklift"].items():
        assert name == "objects" or last[f"Forklift/{name}"] == value
    assert ours["means"]["mAP_3d"] == last["mAP_3d"]
    theirs = figures(tool, tmp_path / "b.json", config, "--detections", run / "results")
    assert theirs == ours
    loose = figures(tool, tmp_path / "c.json", "--checkpoint", run, "--min-iou", "Forklift=0.1")
    assert loose["classes"]["Forklift"]["3d"] >= ours["classes"]["Forklift"]["3d"]
    assert loose["classes"]["Forklift"]["distance"] == ours["classes"]["Forklift"]["distance"]


def test_what_is_wrong_is_said_in_a_line(forklifts: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    config, run = forklifts
    for arguments, words in (
        ((config,), "--checkpoint, or CONFIG and --detections"),
        (("--detections", tmp_path), "needs CONFIG"),
        ((config, "--detections", tmp_path), "000000.json: missing, the first of 4"),
        (("--checkpoint", run, "--classes", "Car"), "the detector finds Forklift"),
        (("--checkpoint", run, "--json", tmp_path / "none" / "a.json"), "cannot be written"),
    ):
        result = tool("eval_clouds.py", *arguments)
        assert result.returncode == 2, arguments
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["eval_clouds.py", "eval_kitti.py"])
def test_frames_without_labels_are_said_before_any_work(
    forklifts: tuple[Path, Path], tool: Tool, tmp_path: Path, name: str
) -> None:
    config, run = forklifts
    root = shutil.copytree(config.parent, tmp_path / "yard")
    shutil.copytree(root / "training", root / "testing", ignore=shutil.ignore_patterns("label_2"))
    (root / "ImageSets" / "test.txt").write_text("000000\n000001\n")
    result = tool(name, "--checkpoint", run, "--split", "test", f"data.root={root}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"'--split': 2 of 2 frames of {root} have no labels" in result.stderr


def test_a_page_and_pictures_of_such_runs(forklifts: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    _, run = forklifts
    result = tool("show_detections.py", run, run, "--save", tmp_path / "a.png")
    assert result.returncode == 0, result.stderr
    assert "true positives" in result.stdout
    result = tool("report.py", run, "--out", tmp_path / "page")
    assert result.returncode == 0, result.stderr
    assert "all points of the curve" in next((tmp_path / "page").glob("*.html")).read_text()
