"""The inputs of the rows: simulated frames, or a given frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mink_pd.config import Config
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.kitti.calibration import write_calibration
from mink_pd.data.kitti.images import IMAGE_SIZE
from mink_pd.data.kitti.projection import in_camera_view
from mink_pd.data.loading.augment import rotate
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.data.points import read_points
from mink_pd.detect.clouds import PointFiles

SEED = 0
JITTER = 0.05  # standard deviation of the points that are added to reach a given number [m]


@dataclass(frozen=True)
class Sizes:
    """The sizes of the rows: those of the table, or :data:`TINY` for tests."""

    batch: int = 4  # frames in a training step, as in configs/pointpillars_kitti.yaml
    sweep: int = 120_000  # points of a full turn
    selected: int = 6000  # PointDistiller's N and K for PointPillars, as published
    neighbours: int = 128
    boxes: int = 4096
    candidates: int = 300  # anchors of a frame and class that reach NMS
    evaluated: int = 3769  # frames of KITTI's validation split
    every: int = 1  # keep one in so many points of a frame


TINY = Sizes(batch=1, sweep=3000, selected=60, neighbours=8, boxes=60, candidates=20, evaluated=6, every=30)


class Inputs:
    """Frames cut to the camera's view with their labels, and full turns, for all rows.

    frame: a point cloud; its calibration and labels are read from KITTI's layout around it if they exist. Without a
    cloud, the frames are simulated. Raises DataError for a malformed file.
    """

    def __init__(self, frame: Path | None = None, sizes: Sizes = Sizes(), config: Config | None = None) -> None:
        """``config``: of the detector and its training; None: the defaults, which are those of
        configs/pointpillars_kitti.yaml."""
        self.path, self.sizes, self.config = frame, sizes, config or Config()
        self._frames: dict[int, Frame] = {}

    def frame(self, index: int = 0) -> Frame:
        """Frame ``index`` in the camera's view; always the given frame if there is one."""
        if self.path is not None:
            index = 0
        if index not in self._frames:
            self._frames[index] = self._make(index)
        return self._frames[index]

    def passing(self, count: int) -> Iterator[Frame]:
        """Frames 0 to ``count`` - 1, none of which is kept in memory."""
        return (self._make(index) for index in range(count))

    def _make(self, index: int) -> Frame:
        frame = self._simulated(index) if self.path is None else _given(self.path)
        frame.points = frame.points[:: self.sizes.every]
        return frame

    def batch(self, frames: int = 1) -> Batch:
        """The first ``frames`` frames."""
        return collate([self.frame(index) for index in range(frames)], self.config.data.classes)

    @cached_property
    def sweep(self) -> np.ndarray:
        """A full turn of exactly ``sizes.sweep`` points (P, 4).

        A simulated street lies ahead of the car, and another one, rotated, behind it. Excess points are thinned
        evenly; missing points are repeated with a jitter.
        """
        if self.path is not None:
            points = read_points(self.path)
        else:
            ahead, behind = (_full_turn(index) for index in (0, 1))
            points = np.concatenate([ahead.points, rotate(behind, np.pi).points])
        return resized(points, self.sizes.sweep)

    def full_scan(self) -> Frames:
        """The full turn as a file of KITTI's layout, read and cut to the camera's view at every access."""
        training = self.folder / "full" / "training"
        for name in ("velodyne", "calib"):
            (training / name).mkdir(parents=True, exist_ok=True)
        self.sweep.tofile(training / "velodyne" / "000000.bin")
        calibration = self.frame().calibration
        assert calibration is not None
        write_calibration(training / "calib" / "000000.txt", calibration)
        return PointFiles([training / "velodyne"], None, camera_view=True)

    @property
    def description(self) -> str:
        """The origin of the frames."""
        return f"simulated frames, seed {SEED}" if self.path is None else str(self.path)

    @cached_property
    def folder(self) -> Path:
        """A folder for files of this run, removed together with the inputs."""
        self._folder = TemporaryDirectory(prefix="mink_pd-benchmark-")
        return Path(self._folder.name)

    def _simulated(self, index: int) -> Frame:
        """A simulated frame, written and read in KITTI's layout, so that it is complete."""
        from mink_pd.simulator.write import write_frame  # imports Open3D, which subclasses do without

        training = self.folder / "simulated" / "training"
        for name in ("velodyne", "calib", "label_2"):
            (training / name).mkdir(parents=True, exist_ok=True)
        write_frame(training, SEED, index)
        return Kitti(training.parent, [f"{index:06d}"])[0]


def resized(points: np.ndarray, count: int) -> np.ndarray:
    """Exactly ``count`` points: thinned evenly, or filled up with jittered copies."""
    if len(points) >= count:
        return points[np.linspace(0, len(points) - 1, count).astype(np.int64)]
    rng = np.random.default_rng(SEED)
    more = points[rng.integers(0, len(points), count - len(points))].copy()
    more[:, :3] += rng.normal(0, JITTER, (len(more), 3)).astype(np.float32)
    return np.concatenate([points, more])


def _full_turn(index: int) -> Frame:
    from mink_pd.simulator.draws import frame_rng
    from mink_pd.simulator.sensor import scan
    from mink_pd.simulator.street import random_scene

    rng = frame_rng(SEED, index)
    return Frame(f"{index:06d}", scan(random_scene(rng).snapshot(), rng, camera_view=False).points)


def _given(path: Path) -> Frame:
    """A frame of KITTI's layout with its calibration and labels; any other cloud is cut to the view of a camera like
    KITTI's."""
    home = path.resolve().parents[1]
    if path.parent.name == "velodyne" and (home / "calib" / f"{path.stem}.txt").is_file():
        return Kitti(home.parent, [path.stem])[0]
    from mink_pd.simulator.rig import calibration

    points = read_points(path)
    return Frame(path.stem, points[in_camera_view(points, calibration(), IMAGE_SIZE)], calibration=calibration())
