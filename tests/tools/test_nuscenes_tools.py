"""From a simulated nuScenes to the devkit's figures, through the tools."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("nuscenes")
Tool = Callable[..., CompletedProcess]
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pointpillars_nuscenes_simulator.yaml"
TINY = (
    "model.pillar_channels=16", "model.channels=[16,16,16]", "model.layers=[0,0,0]", "model.neck_channels=16",
    "model.voxel_size=[1.0,1.0,8.0]", "model.nms.score=0.001", "train.epochs=1", "train.accelerator=cpu",
    "train.threads=1", "data.sweeps=2", "data.class_balanced=true",
    "data.augment.ground_truth_sampling={car: 4, bus: 2}",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(nuscenes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    runs = tmp_path_factory.mktemp("runs")
    return [*TINY, f"data.root={nuscenes_root}", f"runs={runs}", "name=tiny"]


@pytest.fixture(scope="module")
def trained(settings: list[str], tool: Tool) -> Path:
    result = tool("train.py", CONFIG, *settings)
    assert result.returncode == 0, result.stderr
    assert "NDS" in result.stdout + result.stderr
    return Path(next(text for text in settings if text.startswith("runs="))[5:]) / "tiny"


def test_validation_logs_the_devkits_figures_and_leaves_a_submission(trained: Path) -> None:
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["split"] == "val"
    assert {"mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE", "car/AP", "bus/vel_err"} <= last.keys()
    (file,) = (trained / "results").iterdir()
    assert len(json.loads(file.read_text())["results"]) == 4


def test_a_checkpoint_and_its_submission_score_alike(
    trained: Path, settings: list[str], tool: Tool, tmp_path: Path
) -> None:
    ours = tool(
        "eval_nuscenes.py", "--checkpoint", trained, "--submission", tmp_path / "s.json",
        "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert ours.returncode == 0, ours.stderr
    assert "construction" in ours.stdout
    assert "NDS" in ours.stdout
    again = ("--results", tmp_path / "s.json", "--json", tmp_path / "b.json")
    theirs = tool("eval_nuscenes.py", CONFIG, *settings, *again)
    assert theirs.returncode == 0, theirs.stderr
    figures = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    for found in figures:
        del found["eval_time"]
    assert figures[0] == figures[1]
    assert figures[0]["label_tp_errors"]["traffic_cone"]["vel_err"] is None
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert 100 * figures[0]["nd_score"] == pytest.approx(last["NDS"], abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --checkpoint or --results"),
        (("--results", "x.json", "--checkpoint", "y"), "give --checkpoint or --results"),
        (("--results", "nowhere.json"), "nowhere.json: cannot be read"),
        (("data.version=v1.0-mini", "--results", "x.json"), "v1.0-mini: no such folder"),
        (("--results", "x.json", "--split", "test"), "no split 'test' of this version"),
    ],
)
def test_mistakes_are_one_line(settings: list[str], tool: Tool, arguments: tuple[str, ...], message: str) -> None:
    result = tool("eval_nuscenes.py", CONFIG, *settings, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_other_benchmarks_figures_are_refused(trained: Path, settings: list[str], tool: Tool) -> None:
    result = tool("train.py", CONFIG, *settings, "name=other", "train.best_metric=mAP_3d")
    assert result.returncode == 2
    assert "nuscenes has no figure called 'mAP_3d'; write NDS" in result.stderr
    result = tool("eval_nuscenes.py", CONFIG.with_name("pointpillars_kitti.yaml"), "--results", "x")
    assert "use mink-pd eval-kitti" in result.stderr
    result = tool("eval_nuscenes.py", CONFIG.with_name("pointpillars_kitti.yaml"), "--checkpoint", trained)
    assert 'was trained with data.kind="nuscenes"' in result.stderr
    result = tool("eval_kitti.py", "--checkpoint", trained)
    assert "use mink-pd eval-nuscenes" in result.stderr


def test_a_part_of_a_split_is_not_scored(settings: list[str], tool: Tool) -> None:
    result = tool("train.py", CONFIG, *settings, "name=part", "data.val_split=train", "data.max_frames=1")
    assert result.returncode == 2
    assert "data.max_frames: nuScenes scores whole splits" in result.stderr


def test_the_simulator_says_what_it_made(tool: Tool, tmp_path: Path) -> None:
    out = tmp_path / "made"
    made = tool("simulate_nuscenes.py", out, "--train", 1, "--val", 0, "--keyframes", 1, "--schema", "v1.0-mini")
    assert made.returncode == 0, made.stderr
    assert "1 keyframes in mini_train" in made.stdout
    assert "data.version=v1.0-mini" in made.stdout
    again = tool("simulate_nuscenes.py", out, "--train", 1, "--val", 0, "--keyframes", 1, "--schema", "v1.0-mini")
    assert "nothing to do" in again.stdout
