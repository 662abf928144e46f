"""The Python interface: load a detector and run it on arrays, train, distil. ``import mink_pd`` offers these names.

They are stable; other modules may change from one version to the next.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from mink_pd.config import Config, load_config
from mink_pd.config.points import NONE, X_FORWARD
from mink_pd.data.frame import Frame
from mink_pd.data.points import make_cloud, with_columns
from mink_pd.detect.device import own_device
from mink_pd.detect.engine_detector import with_engine
from mink_pd.detect.predict import FrameDetections, detect_frame
from mink_pd.errors import ConfigError, DataError
from mink_pd.memory import without_collection
from mink_pd.models import Detector
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.models.checkpoint import load_detector as load

_NAMES = ("x", "y", "z", "intensity", "time_lag")


class PointDetector:
    """A trained detector for point clouds in memory; :func:`load_detector` makes one.

    network: the torch module, in evaluation mode on its device.
    config: the configuration that describes it; ``config.data.range`` is where it looks [m].
    """

    def __init__(self, network: Detector, config: Config, engine: bool = True) -> None:
        """engine: detect with the engine where it can run the network (docs/engine.md)."""
        self.network, self.config = network, config
        self._detecting = with_engine(network) if engine else network

    @property
    def classes(self) -> list[str]:
        """Names of the classes that it detects."""
        return list(self.network.classes)

    def detect_points(self, points: np.ndarray) -> FrameDetections:
        """Detect objects in one point cloud.

        points: (P, 3 or more) numbers: x forward, y left, z up [m], whatever ``data.axes`` says of files; intensity as
        in the files of the training data (``data.intensity``; usually 0..1); for detectors of nuScenes intensity 0..1,
        a 255th of the files', and the time lag [s]. A column that is missing counts as 0. As in files, points at the
        origin or with a NaN or infinite value are left out.

        Returns the boxes float32 (B, 7): x, y, z of the centre, l, w, h [m], yaw [rad], counter-clockwise about z, 0
        along x; ``names`` (B,), ``scores`` (B,), best first; ``velocities`` (B, 2) [m/s] or None.

        Raises DataError for an array of another shape or type, or one that does not look like such a cloud.
        """
        columns, settings = _columns(points), self.config.data.model_copy(update={"axes": X_FORWARD})
        if "intensity" not in columns:
            settings = settings.model_copy(update={"intensity": NONE})
        cloud = make_cloud("points", columns, settings, more=list(columns)[4:]).points
        frame = Frame("points", with_columns(cloud, self.config.data.point_features))
        return detect_frame(self._detecting, frame, self.config)


@without_collection()
def load_detector(
    path: str | Path, *, which: Literal["last", "best"] = "last", score: float | None = None, engine: bool = True
) -> PointDetector:
    """Load a trained detector onto this machine's device: the GPU if MinkowskiEngine is built for it, else the CPU.

    path: run folder or ``.safetensors`` file. which: checkpoint of a run folder. score: lowest score to report, that of
    the configuration if None. engine: on a CPU, detect with the engine where it can run the detector: the same boxes to
    1e-4, sooner; False: with torch.
    Raises CheckpointError if the file is missing, damaged, or of another architecture, ConfigError for a score that is
    not from 0 to 1.
    """
    if score is not None and not (isinstance(score, float | int) and 0 <= score <= 1):
        raise ConfigError(f"score: {score!r} is not a number from 0 to 1")
    network, config = load(Path(path), which=which)
    if score is not None:
        config.model.nms.score = score
    return PointDetector(network.to(own_device(config.train)), config, engine)


def train_detector(config: str | Path | Config, *settings: str, resume: bool = False, force: bool = False) -> Path:
    """Train a detector, as ``mink-pd train`` does; returns the run folder.

    config: name of a shipped configuration, path of a YAML file, or a configuration. settings: over those of the file,
    each as ``"key=value"``. resume: continue the run, or start it if there is none. force: replace the run.
    Raises ConfigError or DataError, before anything is written, if settings or data do not fit.
    """
    from mink_pd.train.start import train_detector as train  # takes seconds to import, and detection needs none of it

    return train(_configuration(config, settings), resume, force).path


def distill_detector(
    config: str | Path | Config,
    *settings: str,
    teacher: str | Path,
    which: Literal["last", "best"] = "last",
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Train a student with a teacher, like ``mink-pd distill``; return the run folder.

    config: of the student. teacher: run folder or ``.safetensors`` file. which: checkpoint of the teacher's run folder.
    The rest as for :func:`train_detector`.
    Raises CheckpointError or DistillError too, if the teacher cannot be read or does not fit the student.
    """
    from mink_pd.train.start import distil  # as above

    return distil(_configuration(config, settings), checkpoint_file(Path(teacher), which), resume, force).path


def _configuration(config: str | Path | Config, settings: tuple[str, ...]) -> Config:
    if not isinstance(config, Config):
        return load_config(config, list(settings))
    if settings:
        raise TypeError("settings go with the name or path of a configuration; a Config is complete: use model_copy")
    return config


def _columns(points: np.ndarray) -> dict[str, np.ndarray]:
    """The named columns of an array (P, 3 or more)."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in "fiu":
        raise DataError(f"points: must be numbers of shape (P, 3 or more), got {points.dtype} {points.shape}")
    return dict(zip(_NAMES, points.T, strict=False))
