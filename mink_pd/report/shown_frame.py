"""One validation frame: pictures of the teacher's importance and of the detections, and the 3D scene."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mink_pd.boxes.geometry import corners
from mink_pd.data import Dataset, open_dataset, view_of
from mink_pd.data.frame import Frame
from mink_pd.detect.predict import detect_frame
from mink_pd.distill.importance import importance_title
from mink_pd.distill.inspect import ImportanceView, inspect_importance
from mink_pd.errors import MinkPDError
from mink_pd.evaluate.scorers import make_scorer
from mink_pd.experiments.finished_runs import Run
from mink_pd.experiments.groups import Group
from mink_pd.models.checkpoint import load_detector
from mink_pd.render import Panel, choose_frame, detections_figure, importance_figure
from mink_pd.render.colours import colour_map, scale_of
from mink_pd.render.detections import COLOURS
from mink_pd.render.outlook import Outlook

SCORE = 0.3  # detections that score less are not shown


@dataclass
class Shown:
    """The frame, the teacher's importance, and the detections of each detector."""

    frame: Frame
    view: ImportanceView
    panels: list[Panel]  # of teacher, student alone and distilled student
    what: str  # the importance and the tap, in words
    asked_for: bool  # whether the user gave its ID; else it was chosen without looking at detections
    outlook: Outlook  # how frames of the data set are shown


def look(group: Group, root: Path | None, id: str | None) -> Shown:
    """Run teacher, student and distilled student of the main row's first seed on one frame.

    root: of the data set; None: the runs' own.
    id: of the frame; None: one is chosen without looking at detections.
    Raises MinkPDError if runs, weights, data or labels are missing.
    """
    row = group.main
    if row is None or group.student is None or group.teacher is None:
        raise MinkPDError("pictures need a teacher, a student trained alone and a distilled student")
    seed = next((seed for seed in row.runs if seed in group.student.runs), None)
    if seed is None:
        raise MinkPDError("pictures need a student trained alone and a distilled student of the same seed")
    teacher = group.teacher.runs.get(seed, group.teacher.first)
    trained = {"teacher": teacher, "student alone": group.student.runs[seed], "distilled": row.runs[seed]}
    data = teacher.config.data
    dataset = open_dataset(data.model_copy(update={"root": root or data.root}), data.val_split)
    frame = choose_frame(dataset, data.range, id)
    tap, kind, rows = _selection(row.runs[seed])
    view = inspect_importance(load_detector(teacher.folder.path)[0], frame, tap, kind, rows)
    panels = [_panel(name, run, frame, dataset) for name, run in trained.items()]
    return Shown(frame, view, panels, f"{importance_title(kind)} at tap {tap}", id is not None, Outlook(view_of(data)))


def pictures(shown: Shown) -> dict[str, Image.Image]:
    """The two figures, by title. Raises MinkPDError if Open3D cannot render."""
    view, frame, outlook = shown.view, shown.frame, shown.outlook
    subtitle = f"Frame {frame.id}. Points coloured by importance: {shown.what}."
    _, alone, distilled = shown.panels
    title = f"Student alone and distilled student, frame {frame.id}"
    return {
        "importance": importance_figure(
            view.points, view.importance, view.selected, view.boxes, view.inside, subtitle=subtitle,
            velocities=view.velocities, outlook=outlook,
        ),
        "detections": detections_figure(frame.points, alone, distilled, title, outlook=outlook),
    }  # fmt: skip


def scene(shown: Shown) -> dict[str, Any]:
    """The viewer's data: points as int16 multiples of a step, indices into a colour table, boxes by detector and
    outcome, and the selected locations."""
    view = shown.view  # only points within the teacher's range
    points = view.points[:, :3]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    fraction = scale_of(view.importance)(view.importance)  # (P,)
    return {
        "frame": shown.frame.id,
        **packed(points, middle),
        "importance": base64_of(np.round(255 * fraction).astype(np.uint8)),
        "colours": base64_of(np.round(255 * colour_map(np.linspace(0, 1, 256))).astype(np.uint8)),
        "selected": (view.selected[:, :3] - middle).round(3).tolist(),
        "outcomes": {name: [round(255 * part) for part in colour] for name, colour in COLOURS.items()},
        "panels": [_boxes(panel, middle) for panel in shown.panels],
    }


def png(picture: Image.Image) -> str:
    """The picture as a data URL."""
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _panel(name: str, run: Run, frame: Frame, dataset: Dataset) -> Panel:
    detector, config = load_detector(run.folder.path)
    return make_scorer(dataset, config).judge(frame, detect_frame(detector, frame, config), SCORE, name)


def _selection(run: Run) -> tuple[str, str, int]:
    """Tap, importance and number of rows in the run's settings of PointDistiller, even if it used another method."""
    settings = run.config.distill.section("pointdistiller")
    return settings.taps[-1], settings.importance, settings.rows


def _boxes(panel: Panel, middle: np.ndarray) -> dict[str, Any]:
    boxes = [
        {"corners": (vertices - middle).round(2).tolist(), "outcome": str(outcome)}
        | ({"score": round(float(score), 2)} if np.isfinite(score) else {})
        for vertices, outcome, score in zip(corners(panel.boxes), panel.outcomes, panel.scores, strict=True)
    ]
    return {"name": panel.title, "counts": {name: panel.count(name) for name in COLOURS}, "boxes": boxes}


def packed(points: np.ndarray, middle: np.ndarray) -> dict[str, Any]:
    """Points (P, 3) as the viewer reads them: int16 multiples of a step [m] from ``middle`` (3,).

    The farthest point sets the step.
    """
    step = max(float(np.abs(points - middle).max(initial=0.0)), 1.0) / 32767
    steps = np.round((points - middle) / step).astype("<i2")
    return {"step": step, "middle": middle.round(3).tolist(), "points": base64_of(steps)}


def base64_of(array: np.ndarray) -> str:
    """The bytes of an array in base64, as the viewer reads them."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
