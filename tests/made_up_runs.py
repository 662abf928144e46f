"""Run folders with made-up figures, and a made-up frame: what the report reads, without a training."""

import json
from pathlib import Path

import numpy as np

from mink_pd.config import dump_config, load_config
from mink_pd.data.frame import Frame
from mink_pd.distill.inspect import ImportanceView
from mink_pd.render import FALSE_POSITIVE, MISSED, TRUE_POSITIVE, Panel
from mink_pd.render.outlook import AHEAD
from mink_pd.report.shown_frame import Shown
from mink_pd.train.run_folder import identify

CLASSES = ("Car", "Pedestrian", "Cyclist")


def write_run(
    folder: Path,
    name: str,
    seed: int,
    value: float,
    *settings: str,
    teacher: Path | None = None,
    finished: bool = True,
    epochs: int = 2,
) -> Path:
    """A run with two steps per epoch, whose 3D figures are ``value`` and whose BEV figures are 10 more; returns its
    folder.

    teacher: a run folder of this kind. Weights are a few bytes, other ones for every run.
    """
    base = folder / "base.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    base.write_text(f"train: {{epochs: {epochs}}}\ndata: {{root: {folder / 'nowhere'}}}\n")
    config = load_config(base, [f"name={name}-seed{seed}", f"seed={seed}", f"runs={folder}", *settings])
    path = folder / f"{name}-seed{seed}"
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "last.safetensors").write_text(f"{name} {seed}")
    (path / "config.yaml").write_text(dump_config(config))
    (path / "environment.txt").write_text("commit: 0123456789abcdef\n")
    if teacher is not None:
        (path / "files.json").write_text(json.dumps(identify({"teacher": teacher / "checkpoints/last.safetensors"})))
    rows = [_epoch(epoch, teacher is not None) for epoch in range(1, epochs + 1)]
    if finished:
        levels = {"easy": value + 5, "moderate": value, "hard": value - 5}
        figures = {f"{one}/3d/{level}": v for one in CLASSES for level, v in levels.items()}
        figures |= {f"{one}/bev/{level}": v + 10 for one in CLASSES for level, v in levels.items()}
        rows.append({"split": "val", "epoch": epochs, "step": 2 * epochs, "mAP_3d": value, "mAP_bev": value + 10})
        rows[-1] |= figures
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_matrix(folder: Path) -> dict[str, list[float]]:
    """A teacher, students alone, PointDistiller with a control and three settings of K, on three seeds: values of
    mAP 3D by row."""
    values = {
        "teacher": [60.0],
        "student": [40.0, 42.0, 41.0],
        "pointdistiller": [44.0, 45.5, 45.0],
        "control": [39.0, 41.5, 40.0],
        "k-4": [43.0, 44.0, 43.5],
        "k-64": [43.5, 46.0, 44.0],
    }
    settings = {
        "control": ["distill.control=random"],
        "k-4": ["distill.pointdistiller.neighbours=4"],
        "k-64": ["distill.pointdistiller.neighbours=64"],
    }
    teacher = write_run(folder, "teacher", 0, 60.0)
    for name, per_seed in list(values.items())[1:]:
        for seed, value in enumerate(per_seed):
            taught = None if name == "student" else teacher
            write_run(folder, name, seed, value, "model.compression=4", *settings.get(name, []), teacher=taught)
    return values


def made_up_frame() -> Shown:
    """A plane of points with two boxes; each detector finds, invents and misses something else."""
    rng = np.random.default_rng(0)
    points = rng.uniform([2, -15, -1.8, 0], [40, 15, -1.6, 1], (4000, 4)).astype(np.float32)
    boxes = np.array([[15.0, 3, -1, 4, 1.6, 1.5, 0.3], [25, -4, -1, 4, 1.6, 1.5, 1.2], [20, 8, -1, 0.8, 0.8, 1.7, 0]])
    importance = 1 / (1 + np.hypot(points[:, 0] - 15, points[:, 1] - 3))
    view = ImportanceView(points, importance, points[np.argsort(-importance)[:20], :3], 0.5, boxes[:2])
    outcomes = {
        "teacher": [TRUE_POSITIVE, TRUE_POSITIVE, FALSE_POSITIVE],
        "student alone": [MISSED, TRUE_POSITIVE, FALSE_POSITIVE],
        "distilled": [TRUE_POSITIVE, TRUE_POSITIVE, FALSE_POSITIVE],
    }
    panels = [
        Panel(name, boxes, np.array(one), np.where(np.array(one) == MISSED, np.nan, 0.5))
        for name, one in outcomes.items()
    ]
    return Shown(Frame("000042</script>", points), view, panels, "made up", asked_for=True, outlook=AHEAD)


def _epoch(epoch: int, taught: bool) -> dict:
    row = {"split": "train", "epoch": epoch, "step": 2 * epoch, "loss": 2 / epoch, "classification": 1 / epoch}
    row |= {"box": 1 / epoch, "frames_per_second": 10.0, "seconds": 60.0}
    if taught:
        row |= {"pointdistiller_neck": 0.5 / epoch, "pointdistiller/neck/inside": 0.25 * epoch}
        row |= {"pointdistiller/neck/largest_phi": 2.0, "pointdistiller/neck/teacher_rms": 0.7}
        row |= {"pointdistiller/neck/student_rms": 0.6}
    return row
