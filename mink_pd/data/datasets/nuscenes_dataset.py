"""nuScenes (Caesar et al., CVPR 2020): keyframes with earlier sweeps, read with the devkit.

Points and boxes are in the LiDAR frame of the files (y forward, x right, z up), as in OpenPCDet, and not in the usual
frame with x forward and y left. Nothing depends on that.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from mink_pd.config import DataConfig
from mink_pd.config.points import X_FORWARD, PointsConfig
from mink_pd.data.dataset import Dataset, View
from mink_pd.data.devkit import devkit, explain, open_tables, scenes_of_split, table_files
from mink_pd.data.frame import Frame
from mink_pd.data.nuscenes_records import check_records, matrix, numbers, places
from mink_pd.data.points import Cloud, read_cloud
from mink_pd.errors import ConfigError, DataError
from mink_pd.registry import DATASETS

CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
CHANNEL = "LIDAR_TOP"
CLOSE = 1.0  # points with smaller |x| and |y| are on the own car [m]; the devkit's default
_MICROSECOND = 1e-6
_DEFAULT = PointsConfig()
_ROWS = {"columns": ["x", "y", "z", "intensity", "ring"], "intensity": 255.0}  # of files, by default
_PROGRESS_FROM = 2000  # number of keyframes above which progress is shown


@dataclass(frozen=True)
class Sweep:
    """One turn of the LiDAR."""

    file: Path
    lag: float  # time from the turn to the keyframe [s]
    to_keyframe: np.ndarray  # (4, 4), from the turn's to the keyframe's LiDAR frame


@dataclass(frozen=True)
class Keyframe:
    """A sample according to the tables."""

    token: str
    sweeps: tuple[Sweep, ...]
    boxes: np.ndarray  # (B, 7) float32
    names: np.ndarray  # (B,)
    velocities: np.ndarray  # (B, 2) float32
    seen: np.ndarray  # (B,) int, number of LiDAR and radar points in each box, counted by the annotators
    global_from_lidar: np.ndarray  # (4, 4) float64
    stamp: int  # time stamp of the LiDAR's turn [ns]


class NuScenesConfig(DataConfig):
    """nuScenes' settings."""

    kind: Literal["nuscenes"] = "nuscenes"
    classes: list[str] = Field(list(CLASSES), min_length=1)
    version: str = "v1.0-trainval"  # folder of the tables
    sweeps: int = Field(10, ge=1)  # turns of the LiDAR per frame, including the keyframe's own

    @model_validator(mode="after")
    def _axes_are_those_of_the_tables(self) -> "NuScenesConfig":
        if self.axes != X_FORWARD:
            raise ValueError("data.axes is for clouds without poses; leave it out: nuScenes stays in its files' frame")
        return self

    @model_validator(mode="after")
    def _beams_are_of_one_turn(self) -> "NuScenesConfig":
        if self.beams is not None and self.sweeps > 1:
            raise ValueError(
                "data.beams tells beams apart by the elevation of their points, which the turns before the keyframe do"
                " not keep; set data.sweeps=1"
            )
        return self

    @property
    def point_features(self) -> int:
        """x, y, z [m], intensity [0..1] and time lag [s]"""
        return 5

    @property
    def has_velocities(self) -> bool:
        return True


@DATASETS.register("nuscenes")
class NuScenes(Dataset):
    """The keyframes of one split or one scene; IDs are the samples' tokens, stamps their times [ns].

    version: the folder of the tables, such as v1.0-trainval.
    split: one of the devkit's (train, val, mini_train, ...), one of the version folder's splits.json, or a scene, such
    as scene-0061.
    sweeps: turns of the LiDAR per frame, including the keyframe's own; there are fewer at the start of a scene.
    max_frames: number of frames from the start; None: all.
    point_settings: how sweeps are read (:func:`read_sweep`).

    Points have five columns: x, y, z [m], intensity (0..1, the file's value divided by 255) and time lag [s], which is
    0 for the keyframe's own points and larger for older ones. Boxes belong to the ten detection classes; annotations
    that the devkit maps to none of them are omitted. Velocities are those of the devkit's ``box_velocity``.
    Quaternions need not have length 1, as in the devkit. Scenes are in the order of the sample table, and the frames of
    each in that of time.
    Raises DataError on construction if a table or file is missing, a token does not resolve, a pose or box is
    impossible, timestamps are out of order, the split is unknown, or the devkit is not installed.
    """

    Settings = NuScenesConfig
    scorer = "nuscenes"
    view = View(all_around=True, front=90.0)  # x points to the right, y ahead

    @classmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> "NuScenes":
        unknown = next((name for name in config.classes if name not in CLASSES), None)
        if unknown is not None:
            raise ConfigError(f"'data.classes': nuScenes has no class '{unknown}'; use {', '.join(CLASSES)}")
        return cls(
            config.root,
            split,
            version=config.version,
            sweeps=config.sweeps,
            max_frames=max_frames,
            point_settings=config,
        )

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        version: str,
        sweeps: int = 10,
        max_frames: int | None = None,
        point_settings: PointsConfig = _DEFAULT,
    ) -> None:
        self.point_settings = point_settings
        self.root, self.version, self.split, self.sweeps = Path(root), version, split, sweeps
        tables = open_tables(self.root, version)
        try:
            self.keyframes = list(_keyframes(tables, scenes_of_split(tables, split), sweeps, max_frames))
        except (KeyError, TypeError, ValueError) as error:
            raise explain(self.root / version, error) from None
        self.labelled = bool(tables.sample_annotation)  # the table of v1.0-test is empty
        self.ids = [keyframe.token for keyframe in self.keyframes]
        self.stamps = [keyframe.stamp for keyframe in self.keyframes]
        self.whole_split = max_frames is None
        self._check_files()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        """Read frame ``index``. Raises DataError that names a malformed file."""
        keyframe = self.keyframes[index]
        clouds = [read_sweep(sweep, self.point_settings) for sweep in keyframe.sweeps]
        return Frame(
            keyframe.token,
            np.concatenate([cloud.points for cloud in clouds]),  # (P, 5)
            keyframe.boxes,
            keyframe.names,
            keyframe.velocities,
            dropped=sum(cloud.dropped for cloud in clouds),
            labelled=self.labelled,
        )

    def paths(self, index: int) -> list[Path]:
        """The turns of the LiDAR, and the tables, which describe how to join them."""
        return [*(sweep.file for sweep in self.keyframes[index].sweeps), *table_files(self.root, self.version)]

    def unlabelled(self) -> list[str]:
        """IDs of all keyframes if the version has no annotation, as v1.0-test."""
        return [] if self.labelled else self.ids

    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's objects that contain a point, found without reading a cloud."""
        return [keyframe.names[keyframe.seen > 0] for keyframe in self.keyframes]

    def cloud_files(self) -> Iterable[Path]:
        """The files of all sweeps, each once."""
        return sorted({sweep.file for keyframe in self.keyframes for sweep in keyframe.sweeps})

    def label_bytes(self) -> Iterator[bytes]:
        """Boxes, names and velocities of all keyframes according to the tables."""
        for keyframe in self.keyframes:
            yield "\n".join(keyframe.names.tolist()).encode()
            yield keyframe.boxes.tobytes() + keyframe.velocities.tobytes()

    def fingerprint(self) -> str:
        """A digest that changes with the tables, the frames and their LiDAR files (size, time)."""
        reading = self.point_settings.model_dump_json(include=set(PointsConfig.model_fields))
        digest = hashlib.sha256(f"{self.version} {self.split} {self.sweeps} {reading}".encode())
        files = [keyframe.sweeps[0].file for keyframe in self.keyframes]
        for path in (*table_files(self.root, self.version), *files):
            status = path.resolve().stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def _check_files(self) -> None:
        """Raise DataError for missing files. Folders are listed at once; a query per file takes minutes on a network
        disk."""
        files = {sweep.file for keyframe in self.keyframes for sweep in keyframe.sweeps}
        present = {folder / name for folder in {file.parent for file in files} for name in _names(folder)}
        missing = sorted(files - present)
        if missing:
            raise DataError(
                f"{missing[0]}: missing, the first of {len(missing)} out of {len(files)} LiDAR files of split"
                f" '{self.split}'; complete the data, or set data.sweeps=1 if only keyframes are here"
            )


def sweep_settings(settings: PointsConfig) -> PointsConfig:
    """How the files of sweeps are read: as ``settings`` say, with nuScenes' columns and intensity where these are not
    set."""
    unset = {key: value for key, value in _ROWS.items() if getattr(settings, key) == getattr(_DEFAULT, key)}
    return settings.model_copy(update=unset)


def read_sweep(sweep: Sweep, settings: PointsConfig = _DEFAULT) -> Cloud:
    """Points float32 (P, 5) in the keyframe's LiDAR frame: x, y, z [m], intensity [0..1], time lag [s].

    settings: columns and intensity that are not set are nuScenes'; what is set is used.
    Points on the own car are left out. Raises DataError if the file is missing, truncated or not such a sweep.
    """
    cloud = read_cloud(sweep.file, sweep_settings(settings))
    points = cloud.points[(np.abs(cloud.points[:, :2]) >= CLOSE).any(axis=1)]
    dropped = cloud.dropped + len(cloud.points) - len(points)
    points = np.pad(points, ((0, 0), (0, 1)), constant_values=sweep.lag)  # (P, 5)
    points[:, :3] = points[:, :3].astype(np.float64) @ sweep.to_keyframe[:3, :3].T + sweep.to_keyframe[:3, 3]
    return Cloud(points, dropped)


def _keyframes(tables: Any, scenes: set[str], sweeps: int, most: int | None) -> Iterator[Keyframe]:
    """The keyframes scene by scene, in the order of time."""
    from rich.console import Console  # every program imports this module
    from rich.progress import track

    wanted = {scene["token"] for scene in tables.scene if scene["name"] in scenes}
    samples = [sample for sample in tables.sample if sample["scene_token"] in wanted]
    rank = {token: n for n, token in enumerate(dict.fromkeys(sample["scene_token"] for sample in samples))}
    samples = sorted(samples, key=lambda sample: (rank[sample["scene_token"]], sample["timestamp"]))[:most]
    for sample in samples:
        _check_order(tables, sample)
    poses = _Poses(tables)
    to_class = devkit("nuscenes.eval.detection.utils").category_to_detection_name
    watched = track(
        samples,
        description="collecting keyframes",
        console=Console(stderr=True),
        transient=True,
        disable=len(samples) < _PROGRESS_FROM,
    )
    for sample in watched:
        chain = list(_chain(tables, sample, sweeps))
        own = poses.global_from_lidar(chain[0])
        to_own = np.linalg.inv(own)
        turns = tuple(
            Sweep(
                Path(tables.dataroot) / record["filename"],
                (chain[0]["timestamp"] - record["timestamp"]) * _MICROSECOND,
                to_own @ poses.global_from_lidar(record) if record is not chain[0] else np.eye(4),
            )
            for record in chain
        )
        records = [tables.get("sample_annotation", token) for token in sample["anns"]]
        classes = [to_class(record["category_name"]) for record in records]
        known = [(record, name) for record, name in zip(records, classes, strict=True) if name is not None]
        stamp = chain[0]["timestamp"] * 1000
        yield Keyframe(sample["token"], turns, *_objects(tables, known, own), own, stamp)


def _chain(tables: Any, sample: dict[str, Any], sweeps: int) -> Iterator[dict[str, Any]]:
    """The sample's own turn and earlier ones, newest first. Raises DataError if an earlier turn is not older."""
    if CHANNEL not in sample["data"]:
        raise DataError(
            f"{tables.table_root}/sample_data.json: sample {sample['token']} has no {CHANNEL} keyframe; copy the tables"
            " again"
        )
    record = tables.get("sample_data", sample["data"][CHANNEL])
    yield record
    for _ in range(sweeps - 1):
        if record["prev"] == "":
            return
        earlier = tables.get("sample_data", record["prev"])
        if earlier["timestamp"] >= record["timestamp"]:
            raise DataError(
                f"{tables.table_root}/sample_data.json: timestamps are out of order, {earlier['filename']} comes before"
                f" {record['filename']} but is not older ({earlier['timestamp']}, {record['timestamp']}); copy the"
                " table again"
            )
        record = earlier
        yield record


def _check_order(tables: Any, sample: dict[str, Any]) -> None:
    """Raise DataError if the previous sample is not older. Velocities are differences between samples."""
    earlier = tables.get("sample", sample["prev"]) if sample["prev"] else None
    if earlier is not None and earlier["timestamp"] >= sample["timestamp"]:
        raise DataError(
            f"{tables.table_root}/sample.json: timestamps are out of order, sample {earlier['token']} comes before"
            f" {sample['token']} but is not older ({earlier['timestamp']}, {sample['timestamp']}); copy the table again"
        )


class _Poses:
    """Poses of the LiDAR by record of sample_data."""

    def __init__(self, tables: Any) -> None:
        table = Path(tables.table_root) / "calibrated_sensor.json"
        self._mount = {record["token"]: matrix(table, record) for record in tables.calibrated_sensor}
        self._tables = tables

    def global_from_lidar(self, record: dict[str, Any]) -> np.ndarray:
        """Transform float64 (4, 4) from the LiDAR frame of that turn to the map's frame."""
        table = Path(self._tables.table_root) / "ego_pose.json"
        ego = matrix(table, self._tables.get("ego_pose", record["ego_pose_token"]))
        return ego @ self._mount[record["calibrated_sensor_token"]]


def _objects(
    tables: Any, known: list[tuple[dict[str, Any], str]], global_from_lidar: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (B, 7), names (B,), velocities (B, 2) and numbers of points (B,) of annotations and their classes."""
    records = [record for record, _ in known]
    names = np.array([name for _, name in known], dtype="<U20")
    table = Path(tables.table_root) / "sample_annotation.json"
    centre, quaternion = places(table, records)
    size = numbers(records, "size", 3)  # w, l, h
    check_records(table, records, "size", (np.isfinite(size) & (size > 0)).all(axis=1))
    moving = np.array([tables.box_velocity(record["token"])[:2] for record in records], np.float64).reshape(-1, 2)
    seen = np.array([record["num_lidar_pts"] + record["num_radar_pts"] for record in records], np.int64)
    w, x, y, z = quaternion.T
    ahead = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)], axis=1)  # (B, 2) of each box, on the map
    heading = from_map(global_from_lidar, ahead)
    boxes = np.empty((len(records), 7))
    boxes[:, :3] = (centre - global_from_lidar[:3, 3]) @ global_from_lidar[:3, :3]
    boxes[:, 3:6] = size[:, [1, 0, 2]]
    boxes[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
    return boxes.astype(np.float32), names, from_map(global_from_lidar, moving).astype(np.float32), seen


def from_map(global_from_lidar: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (B, 2) in the LiDAR's x-y plane whose vertical projections onto the map are ``vectors`` (B, 2).

    :func:`to_map` is the exact inverse for any tilt of the LiDAR. The common way, to rotate in 3D and drop z, agrees to
    second order.
    """
    return vectors @ np.linalg.inv(global_from_lidar[:2, :2]).T


def to_map(global_from_lidar: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vertical projections (B, 2) onto the map of vectors (B, 2) in the LiDAR's x-y plane."""
    return vectors @ global_from_lidar[:2, :2].T


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
