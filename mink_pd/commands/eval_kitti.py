"""Score a trained detector, or detections in files, by KITTI's rules."""

import argparse
from collections.abc import Iterable

from mink_pd.cli import console
from mink_pd.commands.evaluation import class_thresholds, evaluated_detector, evaluated_frames
from mink_pd.detect.device import launch
from mink_pd.errors import ConfigError
from mink_pd.evaluate.camera_fit import detections_fit_labels
from mink_pd.evaluate.candidates import collect
from mink_pd.evaluate.kitti import Frames, evaluate_kitti, load_folders, mean_average_precision, operating_points
from mink_pd.evaluate.rules import MIN_IOU, thresholds
from mink_pd.evaluate.scorers.kitti import KittiScorer, split
from mink_pd.evaluate.tables import kitti_table, operating_table, write_json
from mink_pd.files import check_writable
from mink_pd.train.validate import find, lay_out


def main(options: argparse.Namespace) -> None:
    """Evaluate, write the JSON, print the table."""
    check_writable(options.json)
    from_files = options.labels or options.detections
    scorer, labels, detections = score_folders(options) if from_files else score_checkpoint(options)
    result = evaluate_kitti(labels, detections, scorer.min_iou, scorer.image_rules)
    points = operating_points(labels, detections, None, scorer.min_iou, scorer.image_rules)
    if options.json:
        write_json(options.json, result)
    console.print(kitti_table(result, scorer.min_iou))
    console.print(operating_table(points, scorer.min_iou))
    if scorer.note:
        console.print(scorer.note, soft_wrap=True)
    lacking = [name for name in classes_without(detections, scorer.min_iou) if result[name]["3d"]["R40"][2] is not None]
    if lacking and not options.classes:
        text = f"no detection of {', '.join(lacking)}; --classes leaves out what the detector lacks"
        console.print(text, soft_wrap=True)
    means = mean_average_precision(result)
    text = "  ".join(f"{name} {'–' if value is None else f'{value:.2f}'}" for name, value in means.items())
    over = "the classes" if list(scorer.min_iou) == list(MIN_IOU) else ", ".join(scorer.min_iou)
    console.print(f"mAP over {over}, moderate, R40: {text}   ({len(labels)} frames)", soft_wrap=True)
    if options.json:
        console.print(f"written: {options.json}", soft_wrap=True)


def classes_without(detections: Frames, classes: Iterable[str]) -> list[str]:
    """The classes without any detection."""
    found = {str(name).lower() for rows in detections.values() for name in rows.names}
    return [name for name in classes if name.lower() not in found]


def score_folders(options: argparse.Namespace) -> tuple[KittiScorer, Frames, Frames]:
    """The scorer, the labels and the detections of KITTI files."""
    if options.config or not (options.labels and options.detections):
        raise ConfigError("command line: give --checkpoint, or --labels and --detections, and not both")
    min_iou = class_thresholds(options, list(MIN_IOU))
    labels, detections = load_folders(options.labels, options.detections, options.frames, options.classes or ())
    rules = image_rules(options)
    if rules is None:
        rules = detections_fit_labels(collect(labels, detections))
    return KittiScorer(min_iou, rules), labels, detections


def score_checkpoint(options: argparse.Namespace) -> tuple[KittiScorer, Frames, Frames]:
    """The scorer, the labels of a split, and the detector's detections in it."""
    if not options.checkpoint:
        raise ConfigError("command line: give --checkpoint, or --labels and --detections")
    detector, config = evaluated_detector(options)
    if config.data.kind != "kitti":
        raise ConfigError(
            f"'data.kind': {config.data.kind} has other rules than KITTI; use mink-pd eval-nuscenes or eval-clouds"
        )
    if options.image_rules:
        config.evaluate.image_rules = image_rules(options)
    own = thresholds(config.data.classes, config.evaluate.min_iou)
    min_iou = class_thresholds(options, config.data.classes, own)
    dataset = evaluated_frames(options, config)
    fabric = launch(config.train)
    scorer = KittiScorer.of(dataset, config)
    scorer.min_iou = min_iou
    return scorer, *split(find(detector.to(fabric.device), lay_out(dataset, config.data).epoch(0), scorer, fabric))


def image_rules(options: argparse.Namespace) -> bool | None:
    """The value of ``--image-rules``; None if it is not given."""
    return None if options.image_rules is None else options.image_rules == "on"
