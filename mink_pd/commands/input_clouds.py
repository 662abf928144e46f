"""The point clouds that a command line names: files, folders, splits, raw drives and recordings."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from mink_pd.cli import console
from mink_pd.config import DataConfig
from mink_pd.config.points import PointsConfig
from mink_pd.data import open_dataset
from mink_pd.data.datasets.cloud_folder import CloudsConfig
from mink_pd.data.frame import Frames
from mink_pd.data.kitti.kitti_raw import open_raw
from mink_pd.data.recordings import Recording, describe, is_recording
from mink_pd.detect.clouds import PointFiles
from mink_pd.errors import ConfigError

POINTS = ("columns", "dtype", "intensity", "axes", "own_vehicle", "returns")  # settings of the clouds
VIEW = ("camera_view", "image_size")  # of what is kept of them


def recorded_as(options: argparse.Namespace, data: DataConfig) -> DataConfig:
    """The data section with what the command line says of the clouds.

    Another folder of clouds (--data) is read as its own dataset.yaml says. Raises ConfigError, also for an option that
    contradicts it once the folder is opened.
    """
    kept = data.model_dump()
    if options.split and options.data:
        kept["root"] = options.data
        if isinstance(data, CloudsConfig) and options.data.resolve() != data.root.resolve():
            kept = {key: value for key, value in kept.items() if key not in PointsConfig.model_fields}
    given = {key: getattr(options, key) for key in POINTS if getattr(options, key, None) is not None}
    given |= {"camera_view": False} if options.all_around else {}
    try:
        return type(data).model_validate(kept | given)
    except ValidationError as error:
        raise ConfigError(f"command line: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def open_frames(options: argparse.Namespace, data: DataConfig) -> Frames:
    """The point clouds that the command line names; ``data`` is that of :func:`recorded_as`."""
    if sum(map(bool, (options.inputs, options.raw, options.split))) != 1:
        raise ConfigError("command line: give either point clouds, --split NAME or --raw BASE DATE DRIVE")
    if options.data and not options.split:
        raise ConfigError("command line: --data goes with --split; without it, give the point clouds themselves")
    recordings = [path for path in options.inputs if is_recording(path)]
    if recordings:
        if options.calib:
            raise ConfigError("command line: --calib goes with point cloud files; leave it out for a recording")
        if len(options.inputs) > 1:
            raise ConfigError(f"command line: detect in one recording at a time, {recordings[0]} or another")
        return open_recording(recordings[0], options.topic, data)
    if options.topic:
        raise ConfigError("command line: --topic goes with a recording (.mcap, .bag, .db3 or a folder of ROS 2)")
    if options.inputs:
        columns = data.point_features
        return PointFiles(options.inputs, options.calib, data.camera_view, columns, data, data.image_size)
    if options.calib:
        raise ConfigError("command line: --calib goes with point clouds; a data set or drive has its own calibration")
    if options.split:
        return open_dataset(data, options.split)
    base, date, drive = options.raw
    return open_raw(base, date, drive, camera_view=data.camera_view, point_settings=data)


def input_files(options: argparse.Namespace, frames: Frames) -> set[Path]:
    """What detection reads, links resolved: the inputs, their files, and those of the detector.

    Files that an earlier detection may have written beside them (.jsonl; in a run folder also .mcap) do not count.
    """
    read = {*options.inputs, *(path for index in range(len(frames)) for path in frames.paths(index))}
    if isinstance(frames, Recording) and frames.path.is_dir():
        read.update(path for path in frames.path.iterdir() if path.suffix != ".jsonl")
    checkpoint: Path = options.checkpoint
    own = checkpoint.rglob("*") if checkpoint.is_dir() else [checkpoint]
    read.update(path for path in own if path.suffix not in (".jsonl", ".mcap") and path.is_file())
    return {path.resolve() for path in read}


def open_recording(path: Path, topic: str | None, data: DataConfig) -> Recording:
    """A recording; its topics are listed where none was chosen."""
    recording = Recording(path, topic, data, data.point_features)
    if topic is None:
        console.print(f"{path}: {describe(recording.topics)}; reading {recording.topic}", soft_wrap=True)
    return recording
