"""The point clouds that a command line names: files, folders, splits, raw drives and recordings."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from mink_pd.cli import console
from mink_pd.commands.options import add_data
from mink_pd.config import DataConfig
from mink_pd.config.points import NONE
from mink_pd.data import open_dataset
from mink_pd.data.formats import SUFFIXES
from mink_pd.data.kitti_raw import open_raw
from mink_pd.data.recordings import Recording, describe, is_recording
from mink_pd.detect.clouds import Frames, PointFiles
from mink_pd.errors import ConfigError

POINTS = ("columns", "dtype", "intensity", "own_vehicle", "returns")  # settings of the clouds
VIEW = ("camera_view", "image_size")  # of what is kept of them


def add_clouds(parser: argparse.ArgumentParser) -> None:
    """The arguments that :func:`open_frames` and :func:`recorded_as` take."""
    add = parser.add_argument
    inputs = f"{', '.join(SUFFIXES)} files, nuScenes' .pcd.bin, folders of them, or a folder in KITTI's layout"
    inputs += "; or a recording: .mcap, .bag, .db3, or a folder of ROS 2"
    add("inputs", type=Path, nargs="*", metavar="INPUT", help=inputs)
    add("--topic", help="of a recording: the topic of sensor_msgs/PointCloud2; the only one of its kind if not given")
    split = "the frames of a split of the run's data set; for nuScenes keyframes with the sweeps before them"
    add("--split", metavar="NAME", help=split)
    add_data(parser, "of the run", "with --split: ")
    drive = "a drive of KITTI's raw data, e.g. data/raw 2011_09_26 0001"
    add("--raw", nargs=3, metavar=("BASE", "DATE", "DRIVE"), help=drive)
    calib = "KITTI calib file for all clouds, or a folder with NAME.txt for each; not needed in KITTI's layout"
    add("--calib", type=Path, metavar="FILE_OR_DIR", help=calib)
    text = "full scale of the intensity in the clouds, e.g. 255, or none; data.intensity of the run if not given"
    add("--intensity", type=intensity, metavar="NUMBER", help=text)
    text = "values of a point in .bin files, e.g. x,y,z,intensity,ring; data.columns of the run if not given"
    add("--columns", type=lambda names: names.split(","), metavar="NAMES", help=text)
    text = "their type, e.g. float64; data.dtype of the run if not given"
    add("--dtype", type=lambda names: names.split(",") if "," in names else names, help=text)
    text = "keep all points and boxes, also those that the camera of a calib file does not see"
    add("--all-around", action="store_true", help=text)


def recorded_as(options: argparse.Namespace, data: DataConfig) -> DataConfig:
    """The data section with what the command line says of the clouds' columns. Raises ConfigError."""
    given = {key: getattr(options, key) for key in POINTS if getattr(options, key, None) is not None}
    given |= {"camera_view": False} if options.all_around else {}
    try:
        return type(data).model_validate(data.model_dump() | given)
    except ValidationError as error:
        raise ConfigError(f"command line: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def intensity(text: str) -> float | str:
    """A full scale, or the word none."""
    return text if text == NONE else float(text)


def open_frames(options: argparse.Namespace, data: DataConfig) -> Frames:
    """The point clouds that the command line names."""
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
        return open_dataset(data.model_copy(update={"root": options.data or data.root}), options.split)
    base, date, drive = options.raw
    return open_raw(base, date, drive, camera_view=data.camera_view, point_settings=data)


def open_recording(path: Path, topic: str | None, data: DataConfig) -> Recording:
    """A recording; its topics are listed where none was chosen."""
    recording = Recording(path, topic, data, data.point_features)
    if topic is None:
        console.print(f"{path}: {describe(recording.topics)}; reading {recording.topic}", soft_wrap=True)
    return recording
