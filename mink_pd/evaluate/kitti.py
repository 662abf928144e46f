"""KITTI's object evaluation: AP of image boxes, orientation, bird's-eye view and 3D.

The figures equal those of the official offline evaluator. Source: Geiger et al., CVPR 2012; 40 recall points: Simonelli
et al., ICCV 2019.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from mink_pd.data.frame_lists import read_frame_list
from mink_pd.data.kitti.labels import CLASSES, DONT_CARE, read_all_objects
from mink_pd.data.objects import Objects
from mink_pd.errors import DataError
from mink_pd.evaluate.candidates import Scene, collect
from mink_pd.evaluate.curves import OperatingPoint, curves, operating_point
from mink_pd.evaluate.matching import make_task
from mink_pd.evaluate.overlaps import OVERLAPS, OVERLAPS_IN_SPACE
from mink_pd.evaluate.rules import LEVELS, MIN_IOU
from mink_pd.files import read_text

METRICS = ("bbox", "aos", "bev", "3d")
RECALLS = ("R40", "R11")
NO_ALPHA = -10.0  # KITTI's mark for "no orientation given"

# {class: {metric: {"R40" or "R11": [easy, moderate, hard]}}} in percent; None: the figure is undefined.
Result = dict[str, dict[str, dict[str, list[float | None]]]]
Frames = dict[str, Objects]  # frame id -> rows


def evaluate_kitti(
    labels: Mapping[str, Objects],
    detections: Mapping[str, Objects],
    min_iou: Mapping[str, float] = MIN_IOU,
    image_rules: bool = True,
) -> Result:
    """AP in percent of all classes, metrics and levels over the frames of ``labels`` (frame id -> rows).

    min_iou: class -> IoU that a match must exceed.
    image_rules: False for labels without true image boxes, e.g. of a sensor without a camera. Then every label counts
    at every level, and the figures of the image are None.

    A figure is None if no label of the class is counted at that level (the official evaluator prints 0). AOS is None
    if any detection has no alpha (-10), which turns AOS off in the official evaluator as well.
    Raises DataError if a frame has no entry in ``detections``.
    """
    scene = collect(labels, detections, image_rules)
    return {name: _evaluate_class(scene, name, iou) for name, iou in min_iou.items()}


def _evaluate_class(scene: Scene, name: str, iou: float) -> dict[str, dict[str, list[float | None]]]:
    result: dict[str, dict[str, list[float | None]]] = {
        metric: {recall: [None] * len(LEVELS) for recall in RECALLS} for metric in METRICS
    }
    oriented = not np.any(scene.detections.alpha == NO_ALPHA)
    for column, level in enumerate(LEVELS):
        for overlap in OVERLAPS if scene.image_rules else OVERLAPS_IN_SPACE:
            task = make_task(scene, name, level.name, overlap, iou)
            if not task.counted:
                continue
            precision, similarity = curves(task)
            for recall in RECALLS:
                result[overlap][recall][column] = precision[recall]
                if overlap == "bbox" and oriented:
                    result["aos"][recall][column] = similarity[recall]
    return result


def mean_average_precision(result: Result, level: str = "moderate", recall: str = "R40") -> dict[str, float | None]:
    """{"bev": mAP, "3d": mAP} in percent: means over the classes of ``result``, as in PointDistiller's tables.

    Classes without a figure are skipped. None if no class has one.
    """
    column = [entry.name for entry in LEVELS].index(level)
    means: dict[str, float | None] = {}
    for metric in ("bev", "3d"):
        figures = [entry[metric][recall][column] for entry in result.values()]
        known = [figure for figure in figures if figure is not None]
        means[metric] = sum(known) / len(known) if known else None
    return means


def operating_points(
    labels: Mapping[str, Objects],
    detections: Mapping[str, Objects],
    score: float | Mapping[str, float] | None = None,
    min_iou: Mapping[str, float] = MIN_IOU,
    image_rules: bool = True,
) -> dict[str, OperatingPoint | None]:
    """The operating point of each class with its false positives per frame (compare PointDistiller's Figure 4).

    score: the score cut, for all classes or by class. A class that a mapping lacks has no detection. Without it, the
    cut of the precision curve with the highest F1 = 2 TP / (TP + FP + counted labels), by 3D overlap at the moderate
    level.
    A class is None if nothing of it is found at any cut.
    """
    scene = collect(labels, detections, image_rules)
    points = {}
    for name, iou in min_iou.items():
        task = make_task(scene, name, "moderate", "3d", iou)
        cut = score.get(name, np.inf) if isinstance(score, Mapping) else score
        points[name] = operating_point(task, scene.frames, cut)
    return points


def load_folders(
    labels: Path, detections: Path, frames: Path | None = None, classes: Collection[str] = ()
) -> tuple[Frames, Frames]:
    """Read label and detection files FRAME.txt into two dictionaries, frame id -> rows.

    frames: a file with one frame id per line. Without it, all frames with a detection file are read, as the official
    offline evaluator does.
    classes: the classes to be scored; if there are any, the files may contain classes of any name.
    Raises DataError for a missing folder or file, and for a class in ``classes`` that neither KITTI nor any file has.
    """
    for folder in (labels, detections):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; give the folder of the .txt files")
    ids = read_frame_list(frames) if frames else sorted(path.stem for path in detections.glob("*.txt"))
    if not ids:
        raise DataError(f"{frames or detections}: no frame; give ids such as 000008, or files 000008.txt")
    _must_exist(labels, ids, "give its labels")
    _must_exist(detections, ids, "write an empty file for a frame without detections")
    paths = [folder / f"{frame}.txt" for folder in (labels, detections) for frame in ids]
    allowed = [*classes, *(_names_in(paths) if classes else ())]
    truth, found = _read(paths[: len(ids)], ids, None, allowed), _read(paths[len(ids) :], ids, True, allowed)
    present = {str(name) for rows in (*truth.values(), *found.values()) for name in rows.names} - {DONT_CARE}
    known = {name.lower() for name in (*present, *CLASSES)}
    unknown = [name for name in classes if name.lower() not in known]
    if unknown:
        raise DataError(f"{labels}: no object of class '{unknown[0]}'; the files have {', '.join(sorted(present))}")
    return truth, found


def _names_in(paths: Sequence[Path]) -> set[str]:
    """The first word of every line of the files."""
    return {line.split(None, 1)[0] for path in paths for line in read_text(path).splitlines() if line.strip()}


def _read(paths: Sequence[Path], ids: Sequence[str], scores: bool | None, classes: Collection[str]) -> Frames:
    name_it = "correct it, or choose the classes to score: --classes {} ..."
    return dict(zip(ids, read_all_objects(paths, classes=classes, scores=scores, name_it=name_it), strict=True))


def _must_exist(folder: Path, ids: Sequence[str], advice: str) -> None:
    present = set(os.listdir(folder))
    for frame in ids:
        if f"{frame}.txt" not in present:
            raise DataError(
                f"{folder / f'{frame}.txt'}: no such file; {advice}, or leave the frame out of the frame list"
            )


def evaluate_folders(labels: Path, detections: Path, frames: Path | None = None) -> Result:
    """:func:`evaluate_kitti` on the files of :func:`load_folders`."""
    return evaluate_kitti(*load_folders(labels, detections, frames))
