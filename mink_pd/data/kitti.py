"""KITTI's 3D object benchmark (Geiger et al., CVPR 2012), in its own layout.

root/training/ and root/testing/, each with velodyne/ or velodyne_reduced/ (already cut to the camera's view),
calib/, label_2/ (training only) and, if wanted, image_2/ (only the size is read); root/ImageSets/<split>.txt
if present.
"""

import hashlib
import os
import struct
from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.config import DataConfig
from mink_pd.config.points import PointsConfig
from mink_pd.data.calibration import Calibration
from mink_pd.data.dataset import Dataset
from mink_pd.data.frame import Frame
from mink_pd.data.labels import DONT_CARE, read_all_objects, read_objects
from mink_pd.data.points import read_cloud
from mink_pd.data.projection import detections_to_objects, in_camera_view
from mink_pd.errors import DataError
from mink_pd.files import read_bytes, whole_file
from mink_pd.registry import DATASETS

__all__ = [
    "IMAGE_SIZE",
    "Kitti",
    "detections_to_objects",
    "png_size",
    "read_calibration",
    "write_calibration",
]

IMAGE_SIZE = (1242, 375)  # width, height [px] of most of the benchmark's images, for frames without an image
_DEFAULT = PointsConfig()
_SHAPES = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}


def read_calibration(path: str | Path) -> Calibration:
    """Read a KITTI calib file. Raises DataError naming the file and the missing or malformed key."""
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise DataError(f"{path}: cannot be read ({reason}); give a KITTI calib file") from None
    entries = dict(line.strip().split(":", 1) for line in lines if ":" in line)
    matrices = {key: _matrix(path, key, entries.get(key), shape) for key, shape in _SHAPES.items()}
    for key in ("R0_rect", "Tr_velo_to_cam"):
        if abs(np.linalg.det(matrices[key][:, :3]) - 1) > 1e-2:
            raise DataError(f"{path}: '{key}' does not hold a rotation; copy the file again")
    return Calibration(matrices["P2"], matrices["R0_rect"], matrices["Tr_velo_to_cam"])


def _matrix(path: Path, key: str, text: str | None, shape: tuple[int, int]) -> np.ndarray:
    count = shape[0] * shape[1]
    if text is None:
        raise DataError(f"{path}: no key '{key}'; add its {count} numbers or copy the file again")
    try:
        values = np.array(text.split(), dtype=np.float64)
    except ValueError:
        raise DataError(f"{path}: '{key}' holds something that is not a number; mend the line") from None
    if values.size != count or not np.isfinite(values).all():
        raise DataError(f"{path}: '{key}' must hold {count} finite numbers, not {values.size}; mend the line")
    return values.reshape(shape)


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a calib file with all the benchmark's keys, in its order and to its twelve digits.

    Only camera 2 is known: the other cameras repeat it, because widespread readers find P2 by counting lines.
    """
    entries = {f"P{camera}": calibration.p2 for camera in range(4)}
    entries |= {"R0_rect": calibration.r0_rect, "Tr_velo_to_cam": calibration.velo_to_cam}
    entries["Tr_imu_to_velo"] = np.eye(4)[:3]
    with whole_file(path) as file:
        for key, matrix in entries.items():
            file.write(f"{key}: {' '.join(f'{value:.12e}' for value in matrix.ravel())}\n")


class KittiConfig(DataConfig):
    """KITTI's settings."""

    kind: Literal["kitti"] = "kitti"


@DATASETS.register("kitti")
class Kitti(Dataset):
    """The frames of one split.

    split: "train", "val" or "test" (ImageSets/<split>.txt in the root, else the official lists), any other
    file in ImageSets, "all" (every frame of training/), the path of a file with an id a line, or the ids
    themselves. "test" is read from testing/, everything else from training/.
    classes: names allowed in label files besides KITTI's own. camera_view: keep only the points that the
    camera sees. max_frames: only the first so many.

    Boxes hold every labelled object, whatever its class; DontCare regions are in ``Frame.dont_care``.
    Raises DataError at once when the layout is not as expected or files of the split are missing.
    """

    Settings = KittiConfig
    scorer = "kitti"

    @classmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> "Kitti":
        return cls(
            config.root,
            split,
            classes=config.classes,
            camera_view=config.camera_view,
            max_frames=max_frames,
            point_settings=config,
        )

    def __init__(
        self,
        root: str | Path,
        split: str | Path | Sequence[str],
        *,
        classes: Collection[str] = (),
        camera_view: bool = True,
        max_frames: int | None = None,
        point_settings: PointsConfig = _DEFAULT,
    ) -> None:
        self.root = Path(root)
        self.point_settings = point_settings
        self.classes = tuple(classes)
        self.camera_view = camera_view
        self.folder = self.root / ("testing" if split == "test" else "training")
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder}: no such folder; {self.root} must hold {self.folder.name}/velodyne,"
                f" {self.folder.name}/calib" + (f" and {self.folder.name}/label_2" if split != "test" else "")
            )
        self.ids = self._read_split(split)[:max_frames]
        self.labelled = split != "test"
        self._velodyne = self._choose_velodyne(split)
        self._check("calib", ".txt", split)
        if self.labelled:
            self._check("label_2", ".txt", split)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        """Read frame ``index``. Raises DataError naming the file when one is malformed."""
        id = self.ids[index]
        calibration = read_calibration(self.folder / "calib" / f"{id}.txt")
        size = png_size(self.folder / "image_2" / f"{id}.png")
        points, dropped = read_cloud(self._velodyne / f"{id}.bin", self.point_settings)  # (P, 4)
        if self.camera_view:
            points = points[in_camera_view(points, calibration, size)]
        frame = Frame(id, points, calibration=calibration, image_size=size, dropped=dropped, labelled=self.labelled)
        if self.labelled:
            rows = read_objects(self.folder / "label_2" / f"{id}.txt", classes=self.classes, scores=False)
            ignored = rows.names == DONT_CARE
            objects = frame.objects = rows[~ignored]
            frame.dont_care = rows[ignored]
            frame.names = objects.names
            frame.boxes = camera_to_lidar(
                objects.location, objects.dimensions, objects.rotation_y, calibration.camera_from_lidar
            ).astype(np.float32)
        return frame

    def paths(self, index: int) -> list[Path]:
        """The cloud, its calib file and its image."""
        id = self.ids[index]
        image = self.folder / "image_2" / f"{id}.png"
        return [self._velodyne / f"{id}.bin", self.folder / "calib" / f"{id}.txt", image]

    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's labelled objects, without reading any cloud."""
        paths = [self.folder / "label_2" / f"{id}.txt" for id in self.ids]
        labels = read_all_objects(paths, classes=self.classes, scores=False)
        return [objects.names[objects.names != DONT_CARE] for objects in labels]

    def label_bytes(self) -> Iterator[bytes]:
        """The calib and label files of all frames, and the sizes of their clouds."""
        for id in self.ids:
            yield f"{(self._velodyne / f'{id}.bin').stat().st_size}\n".encode()
            for folder in ("calib", "label_2")[: 1 + self.labelled]:
                yield read_bytes(self.folder / folder / f"{id}.txt")

    def fingerprint(self) -> str:
        """A digest that changes with the frames and their files (size, time): a key for what is derived from
        them."""
        digest = hashlib.sha256(f"{self.camera_view} {self.classes}".encode())
        folders = {self._velodyne: ".bin", self.folder / "calib": ".txt"}
        if self.labelled:
            folders[self.folder / "label_2"] = ".txt"
        for folder, suffix in folders.items():
            for id in self.ids:
                path = (folder / f"{id}{suffix}").resolve()
                status = path.stat()
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def _read_split(self, split: str | Path | Sequence[str]) -> list[str]:
        if not isinstance(split, str | Path):
            ids = list(split)
        elif split == "all":
            ids = sorted(Path(name).stem for name in _names(self.folder / "calib") if name.endswith(".txt"))
        else:
            ids = _split_file(self.root, split).split()
        if not ids:
            raise DataError(f"{self.root}: split {split!r} names no frame; list one id a line, like 000000")
        return ids

    def _choose_velodyne(self, split: object) -> Path:
        """velodyne_reduced, a sixth of the bytes, where only the camera's view is wanted and it holds the
        split."""
        reduced = self.folder / "velodyne_reduced"
        wanted = {f"{id}.bin" for id in self.ids}
        full_scan = (self.folder / "velodyne").is_dir()
        if reduced.is_dir() and (not full_scan or (self.camera_view and wanted <= _names(reduced))):
            self._check("velodyne_reduced", ".bin", split)
            return reduced
        self._check("velodyne", ".bin", split)
        return self.folder / "velodyne"

    def _check(self, folder: str, suffix: str, split: object) -> None:
        present = _names(self.folder / folder)
        missing = [id for id in self.ids if f"{id}{suffix}" not in present]
        if missing:
            which = f"split '{split}'" if isinstance(split, str | Path) else "the given ids"
            raise DataError(
                f"{self.folder / folder / missing[0]}{suffix}: missing, the first of {len(missing)} out of"
                f" {len(self.ids)} files of {which}; complete the data, list your frames in ImageSets,"
                " or use the split 'all'"
            )


def png_size(path: Path) -> tuple[int, int]:
    """Width and height [px] from the header of a PNG file; KITTI's usual size where there is no such file."""
    try:
        with path.open("rb") as file:
            header = file.read(24)
    except FileNotFoundError:
        return IMAGE_SIZE
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from None
    if len(header) < 24 or not header.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DataError(f"{path}: is not a PNG file; copy it again, or remove it (only its size is used)")
    width, height = struct.unpack(">II", header[16:24])
    return width, height


def _split_file(root: Path, split: str | Path) -> str:
    official = Path(str(resources.files("mink_pd.data"))) / "splits"
    for place in (root / "ImageSets" / f"{split}.txt", official / f"{split}.txt", Path(split)):
        if place.is_file():
            try:
                return place.read_text()
            except (OSError, UnicodeDecodeError):
                raise DataError(f"{place}: not a readable list of frames; write one id a line") from None
    raise DataError(
        f"{root / 'ImageSets'}: no list for split '{split}'; use train, val, test or all, add {split}.txt"
        " with an id a line, or give the path of such a file"
    )


def _names(folder: Path) -> set[str]:
    """Names in a folder, all at once: asking file by file takes seconds on a network disk."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
