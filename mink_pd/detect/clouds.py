"""What mink-pd detect is given: point cloud files and folders, as frames; and what it writes for each."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.data.dataset import Dataset, whole_frames
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.datasets.nuscenes_dataset import Sweep, read_sweep
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.frame_lists import by_number
from mink_pd.data.kitti.calibration import check_axes, read_calibration
from mink_pd.data.kitti.images import Size, size_of_image, usual_size
from mink_pd.data.kitti.kitti_raw import KittiRaw
from mink_pd.data.kitti.labels import check_class_names, write_objects
from mink_pd.data.kitti.projection import in_camera_view
from mink_pd.data.points import SUFFIXES, Cloud, read_cloud, with_columns
from mink_pd.detect.file_frame import in_file_frame
from mink_pd.detect.predict import FrameDetections, to_objects
from mink_pd.errors import DataError
from mink_pd.files import whole_file

SWEEP = ".pcd.bin"  # nuScenes: one turn of the LiDAR
SCANS = ("velodyne", "velodyne_reduced")  # folders of KITTI's layout, beside calib/ and image_2/
_DEFAULT = PointsConfig()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One point cloud file, with its calib file and image (only its size is read) where they are known."""

    path: Path
    calibration: Path | None
    image: Path | None


class PointFiles:
    """Point cloud files as frames; their ids are the files' names. Files without a byte are warned of.

    camera_view: keep only the points that the camera sees, of frames with a calibration. columns: of a point that the
    detector sees; a file is one turn of the LiDAR, so its time lag is 0. settings: how the files are read. image_size:
    of the camera, where there is no image.
    Raises DataError, before any cloud is read, for a path or the end of a link that is not there, two files of one
    name, or a calibration that is malformed or of other axes than the clouds.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        calibration: Path | None,
        camera_view: bool,
        columns: int = 4,
        settings: PointsConfig = _DEFAULT,
        image_size: Size | None = None,
    ) -> None:
        self.image_size = image_size
        paths = [file for path in inputs for file in _files(path)]
        self.sources = [_source(path, calibration) for path in paths]
        self.ids = [path.name[: -len(SWEEP)] if _is_sweep(path) else path.stem for path in paths]
        self.camera_view, self.columns, self.settings = camera_view, columns, settings
        first: dict[str, Path] = {}
        for id, path in zip(self.ids, paths, strict=True):
            other = first.setdefault(id, path)
            if other is not path:
                raise DataError(f"{path}: has the same name as {other}; detect in one of them at a time")
        for source in self.sources:
            if source.calibration is not None:
                check_axes(source.calibration, settings)
                read_calibration(source.calibration)
        empty = [path for path in paths if not path.stat().st_size]
        if empty:
            logger.warning(
                "%s: has no byte, the first of %d such files; they pass for clouds without points where the format has"
                " no header; copy them again if they should hold points", empty[0], len(empty),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Frame:
        """Read file ``index``. Raises DataError naming the file if it is malformed."""
        source = self.sources[index]
        cloud = _read(source.path, self.settings)
        frame = Frame(self.ids[index], with_columns(cloud.points, self.columns), dropped=cloud.dropped)
        frame.to_lidar = self.settings.to_lidar
        if source.calibration is not None:
            frame.calibration = read_calibration(source.calibration)
            frame.image_size = (size_of_image(source.image) if source.image else None) or self.image_size
            if self.camera_view:
                frame.image_size = frame.image_size or usual_size(source.calibration, frame.calibration)
                frame.points = frame.points[in_camera_view(frame.points, frame.calibration, frame.image_size)]
        return frame

    def paths(self, index: int) -> list[Path]:
        """The cloud, its calib file and its image."""
        source = self.sources[index]
        return [path for path in (source.path, source.calibration, source.image) if path is not None]


def _is_sweep(path: Path) -> bool:
    return path.name.lower().endswith(SWEEP)


def _read(path: Path, settings: PointsConfig) -> Cloud:
    if _is_sweep(path):
        return read_sweep(Sweep(path, lag=0.0, to_keyframe=np.eye(4)), settings)
    return read_cloud(path, settings)


def write_detections(out: Path, frame: Frame, found: FrameDetections, unseen: bool = False) -> int:
    """Write the detections of a frame: ID.txt (KITTI) with a calibration, else ID.json (frame of the cloud's file).

    unseen: write also boxes that the camera does not see, with an image box of zeros. Returns how many boxes were
    left out.
    """
    if frame.calibration is None:
        write_json(out / f"{frame.id}.json", in_file_frame(found, frame.to_lidar))
        return 0
    rows = to_objects(frame, found, unseen)
    write_objects(out / f"{frame.id}.txt", rows)
    return len(found.boxes) - len(rows)


def check_writes(frames: Frames, classes: Iterable[str]) -> None:
    """Raise ConfigError if :func:`write_detections` is to write a class name that a KITTI file cannot hold."""
    if isinstance(frames, PointFiles):
        kitti = any(source.calibration is not None for source in frames.sources)
    else:
        kitti = isinstance(whole_frames(frames) if isinstance(frames, Dataset) else frames, Kitti | KittiRaw)
    if kitti:
        check_class_names(classes)


def write_json(path: Path, found: FrameDetections) -> None:
    """boxes: x, y, z of the centre, l, w, h [m], yaw [rad]; names; scores; velocities x, y [m/s] of detectors that
    predict them; row i for box i. ``found`` is in the frame, and unit, of the cloud's file (:func:`in_file_frame`)."""
    with whole_file(path) as file:
        json.dump(as_rows(found), file, indent=1)
        file.write("\n")


def as_rows(found: FrameDetections) -> dict[str, list]:
    """The detections as lists, row i for box i."""
    rows = {"boxes": found.boxes.tolist(), "names": found.names.tolist(), "scores": found.scores.tolist()}
    if found.velocities is not None:
        rows["velocities"] = found.velocities.tolist()
    return rows


def _files(path: Path) -> list[Path]:
    """The point cloud files that one argument names."""
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: not a point cloud; give {', '.join(SUFFIXES)} files or folders of them")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; give {', '.join(SUFFIXES)} files or folders of them")
    halves = [half for half in (path / "training", path / "testing") if half.is_dir()]
    if len(halves) > 1:
        raise DataError(f"{path}: holds training and testing, whose frames have the same names; give one of them")
    path = halves[0] if halves else path
    folder = next((path / name for name in SCANS if (path / name).is_dir()), path)
    named = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    files = sorted((file for file in named if not file.is_dir()), key=by_number)
    lost = next((file for file in files if not file.exists()), None)
    if lost is not None:
        raise DataError(f"{lost}: is a link to {os.readlink(lost)}, which is not there; mend the link or remove it")
    if not files:
        raise DataError(f"{folder}: holds no {', '.join(SUFFIXES)} file; give a folder of point clouds")
    return files


def _source(path: Path, calibration: Path | None) -> Source:
    """The calib file and image of a cloud: as given, or where KITTI's layout has them.

    The layout is sought around the path as it was given and, if it is a link, around what it points to.
    """
    homes = [candidate.parents[1] for candidate in (path.absolute(), path.resolve()) if candidate.parent.name in SCANS]
    image = next((home / "image_2" / f"{path.stem}.png" for home in homes if (home / "image_2").is_dir()), None)
    if calibration is not None:
        file = calibration / f"{path.stem}.txt" if calibration.is_dir() else calibration
        if not file.is_file():
            raise DataError(
                f"{file}: no such calib file; give --calib a file for all clouds, or a folder with one each"
            )
        return Source(path, file, image)
    files = (home / "calib" / f"{path.stem}.txt" for home in homes)
    return Source(path, next((file for file in files if file.is_file()), None), image)
