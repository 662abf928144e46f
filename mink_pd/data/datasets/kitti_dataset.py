"""KITTI's 3D object benchmark (Geiger et al., CVPR 2012), in its own layout.

root/training/ and root/testing/ each contain velodyne/ or velodyne_reduced/ (cut to the camera's view), calib/,
label_2/ (training only) and optionally image_2/, of which only the sizes are read. root/ImageSets/<split>.txt is
optional.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.config import DataConfig
from mink_pd.config.points import PointsConfig
from mink_pd.data.dataset import Dataset
from mink_pd.data.frame import Frame
from mink_pd.data.frame_lists import read_frame_list
from mink_pd.data.kitti.calibration import Calibration, check_axes, read_calibration
from mink_pd.data.kitti.images import Size, size_of_image, usual_size
from mink_pd.data.kitti.labels import DONT_CARE, read_all_objects, read_objects
from mink_pd.data.kitti.projection import in_camera_view, project_boxes
from mink_pd.data.points import read_cloud
from mink_pd.errors import DataError
from mink_pd.files import read_bytes
from mink_pd.registry import DATASETS

_DEFAULT = PointsConfig()


class KittiConfig(DataConfig):
    """KITTI's settings."""

    kind: Literal["kitti"] = "kitti"


@DATASETS.register("kitti")
class Kitti(Dataset):
    """The frames of one split.

    split: "train", "val" or "test" (ImageSets/<split>.txt in the root, else the official lists), another file in
    ImageSets, "all" (every frame of training/), the path of a file with one ID per line, or a sequence of IDs. "test"
    is read from testing/, everything else from training/.
    classes: names allowed in label files in addition to KITTI's.
    camera_view: keep only the points that the camera sees.
    max_frames: number of frames from the start; None: all.
    image_size: width and height [px] of frames without an image.

    Boxes include all labelled objects of any class; DontCare regions are in ``Frame.dont_care``.
    Raises DataError on construction if the layout is not as expected or files of the split are missing.
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
            image_size=config.image_size,
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
        image_size: Size | None = None,
    ) -> None:
        self.root = Path(root)
        self.image_size = image_size
        self.point_settings = point_settings
        self.classes = tuple(classes)
        self.camera_view = camera_view
        self.folder = self.root / ("testing" if split == "test" else "training")
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder}: no such folder; {self.root} must contain {self.folder.name}/velodyne,"
                f" {self.folder.name}/calib" + (f" and {self.folder.name}/label_2" if split != "test" else "")
            )
        self.ids = self._read_split(split)[:max_frames]
        self.labelled = split != "test"
        self._velodyne = self._choose_velodyne(split)
        self._check("calib", ".txt", split)
        check_axes(self.folder / "calib", point_settings)
        if self.labelled:
            self._check("label_2", ".txt", split)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        """Read frame ``index``. Raises DataError that names a malformed file."""
        id = self.ids[index]
        calib = self.folder / "calib" / f"{id}.txt"
        calibration = read_calibration(calib)
        size = size_of_image(self.folder / "image_2" / f"{id}.png") or self.image_size
        points, dropped = read_cloud(self._velodyne / f"{id}.bin", self.point_settings)  # (P, 4)
        if self.camera_view:
            size = size or usual_size(calib, calibration)
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
            self._check_view(frame, calibration)
        return frame

    def paths(self, index: int) -> list[Path]:
        """The cloud, its calib file and its image."""
        id = self.ids[index]
        image = self.folder / "image_2" / f"{id}.png"
        return [self._velodyne / f"{id}.bin", self.folder / "calib" / f"{id}.txt", image]

    def _check_view(self, frame: Frame, calibration: Calibration) -> None:
        """Raise DataError for an object whose points were removed by the cut to the camera's view."""
        if not self.camera_view or not len(frame.boxes):
            return
        behind = np.isnan(project_boxes(frame.boxes, calibration)).any(axis=1)  # (B,)
        if behind.any():
            row = int(behind.argmax())
            x, y = frame.boxes[row, :2]
            raise DataError(
                f"{self.folder / 'label_2' / frame.id}.txt: the {frame.names[row]} at x {x:.1f}, y {y:.1f} m is behind"
                " the camera, but data.camera_view=true removes all points there; set data.camera_view=false"
            )

    def unlabelled(self) -> list[str]:
        """IDs of all frames of testing/, which has no labels."""
        return [] if self.labelled else self.ids

    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's labelled objects, found without reading a cloud."""
        paths = [self.folder / "label_2" / f"{id}.txt" for id in self.ids]
        labels = read_all_objects(paths, classes=self.classes, scores=False)
        return [objects.names[objects.names != DONT_CARE] for objects in labels]

    def cloud_files(self) -> Iterable[Path]:
        """The clouds, of the folder that is read."""
        return (self._velodyne / f"{id}.bin" for id in self.ids)

    def label_bytes(self) -> Iterator[bytes]:
        """The calib and label files of all frames."""
        for id in self.ids:
            for folder in ("calib", "label_2")[: 1 + self.labelled]:
                yield read_bytes(self.folder / folder / f"{id}.txt")

    def fingerprint(self) -> str:
        """A digest that changes with the frames and their files (size, time), as the key of data derived from them."""
        reading = self.point_settings.model_dump_json(include=set(PointsConfig.model_fields))
        digest = hashlib.sha256(f"{self.camera_view} {self.classes} {self.image_size} {reading}".encode())
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
            if len(set(ids)) < len(ids):
                raise DataError(f"{self.root}: the given IDs name a frame twice; name each once")
        elif split == "all":
            ids = sorted(Path(name).stem for name in _names(self.folder / "calib") if name.endswith(".txt"))
        else:
            ids = read_frame_list(_split_file(self.root, split))
        if not ids:
            raise DataError(f"{self.root}: split {split!r} names no frame; list one ID per line, such as 000000")
        return ids

    def _choose_velodyne(self, split: object) -> Path:
        """velodyne_reduced, which has a sixth of the bytes, if only the camera's view is needed and it contains the
        split; else velodyne."""
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
            which = f"split '{split}'" if isinstance(split, str | Path) else "the given IDs"
            remedy = "" if split in ("all", "test") else ", or use the split 'all'"
            raise DataError(
                f"{self.folder / folder / missing[0]}{suffix}: missing, the first of {len(missing)} out of"
                f" {len(self.ids)} files of {which}; complete the data or list your frames in ImageSets{remedy}"
            )


def _split_file(root: Path, split: str | Path) -> Path:
    official = Path(str(resources.files("mink_pd.data.kitti"))) / "splits"
    for path in (root / "ImageSets" / f"{split}.txt", official / f"{split}.txt", Path(split)):
        if path.is_file():
            return path
    raise DataError(
        f"{root / 'ImageSets'}: no list for split '{split}'; use train, val, test or all, add {split}.txt"
        " with one ID per line, or give the path of such a file"
    )


def _names(folder: Path) -> set[str]:
    """The names in a folder, listed at once; a query per file takes seconds on a network disk."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
