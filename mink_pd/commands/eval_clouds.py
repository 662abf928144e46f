"""Score a trained detector, or detections in files, for any classes and without a camera."""

import argparse

from mink_pd.cli import console
from mink_pd.commands.evaluation import class_thresholds, evaluated_detector, evaluated_frames
from mink_pd.config import load_config
from mink_pd.data.loading.epochs import crop_points
from mink_pd.detect.device import launch
from mink_pd.detect.file_frame import in_lidar_frame
from mink_pd.errors import ConfigError
from mink_pd.evaluate.any_class import CloudFrame, mean_figures
from mink_pd.evaluate.detection_files import read_detections
from mink_pd.evaluate.rules import thresholds
from mink_pd.evaluate.scorers.clouds import CloudsScorer
from mink_pd.evaluate.tables import (
    clouds_distance_table,
    clouds_parts_table,
    clouds_table,
    operating_table,
    write_json,
)
from mink_pd.files import check_writable
from mink_pd.models.agreement import positional
from mink_pd.train.validate import find, lay_out


def main(options: argparse.Namespace) -> None:
    """Evaluate, write the JSON, print the tables."""
    if bool(options.checkpoint) == bool(options.detections):
        raise ConfigError("command line: give --checkpoint, or CONFIG and --detections, and not both")
    check_writable(options.json)
    scorer, frames = score_checkpoint(options) if options.checkpoint else score_files(options)
    result = scorer.evaluate(frames)
    means = mean_figures(result)
    if options.json:
        classes = {name: {"objects": one.objects, **one.figures()} for name, one in result.items()}
        write_json(options.json, {"frames": len(frames), "min_iou": scorer.min_iou, "means": means, "classes": classes})
    console.print(clouds_table(result, scorer.min_iou))
    console.print(clouds_distance_table(result))
    console.print(clouds_parts_table(result, scorer.min_iou))
    points = {name: one.point for name, one in result.items()}
    errors = {name: one.heading_error for name, one in result.items()}
    console.print(operating_table(points, scorer.min_iou, "3D", errors))
    there = [name for name in scorer.min_iou if result[name].objects]
    text = "  ".join(f"{name} {value:.2f}" for name, value in means.items()) or "no object of these classes"
    over = ", ".join(there or scorer.min_iou)
    console.print(f"means over {over}: {text}   ({len(frames)} frames)", soft_wrap=True)
    if options.json:
        console.print(f"written: {options.json}", soft_wrap=True)


def score_checkpoint(options: argparse.Namespace) -> tuple[CloudsScorer, dict[str, CloudFrame]]:
    """The scorer, and the detector's results in the frames of a split."""
    detector, config = evaluated_detector(options)
    dataset = evaluated_frames(options, config)
    scorer = CloudsScorer.of(dataset, config)
    scorer.min_iou = class_thresholds(options, config.data.classes, scorer.min_iou)
    fabric = launch(config.train)
    return scorer, find(detector.to(fabric.device), lay_out(dataset, config.data).epoch(0), scorer, fabric)


def score_files(options: argparse.Namespace) -> tuple[CloudsScorer, dict[str, CloudFrame]]:
    """The scorer, and the results in the files for the frames of a split."""
    given, overrides = positional(options.config, options.overrides)
    if given is None:
        raise ConfigError("command line: --detections needs CONFIG, which names the data set")
    config = load_config(given, overrides)
    dataset = evaluated_frames(options, config)
    own = thresholds(config.data.classes, config.evaluate.min_iou)
    scorer = CloudsScorer.of(dataset, config)
    scorer.min_iou = class_thresholds(options, config.data.classes, own)
    found = read_detections(options.detections, dataset.ids, config.data.classes)
    frames = (crop_points(dataset[index], config.data.range) for index in range(len(dataset)))
    return scorer, {frame.id: scorer.keep(frame, in_lidar_frame(found[frame.id], frame.to_lidar)) for frame in frames}
