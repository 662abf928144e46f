"""Drives of KITTI's raw data (Geiger et al., IJRR 2013), synchronised and rectified."""

import calendar
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.calibration import Calibration, check_axes, check_calibration, matrix, read_entries
from mink_pd.data.kitti.images import Size, size_of_image, usual_size
from mink_pd.data.kitti.projection import in_camera_view
from mink_pd.data.points import read_cloud
from mink_pd.data.stamps import check_order
from mink_pd.errors import DataError
from mink_pd.files import read_text

_CAMERA, _LIDAR = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"
_DEFAULT = PointsConfig()


class KittiRaw:
    """The scans of one drive as frames without boxes; IDs are the scans' numbers, such as 0000000005.

    Scans may be missing within a drive, as in some official ones; there is one frame per scan file.
    stamps: time stamp of each scan [ns]; None without velodyne_points/timestamps.txt.
    """

    def __init__(
        self,
        files: Sequence[Path],
        calibration: Calibration,
        image_size: Size,
        *,
        camera_view: bool = True,
        point_settings: PointsConfig = _DEFAULT,
    ) -> None:
        """camera_view: keep only the points that the left colour camera with images of ``image_size`` sees."""
        self.files, self.calibration, self.image_size = list(files), calibration, image_size
        self.ids = [file.stem for file in self.files]
        self.stamps = _stamps(self.files)
        self.camera_view, self.point_settings = camera_view, point_settings

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Frame:
        """Read scan ``index``. Raises DataError that names a malformed file."""
        points, dropped = read_cloud(self.files[index], self.point_settings)  # (P, 4)
        if self.camera_view:
            points = points[in_camera_view(points, self.calibration, self.image_size)]
        return Frame(
            self.ids[index],
            points,
            calibration=self.calibration,
            image_size=self.image_size,
            dropped=dropped,
            labelled=False,
        )

    def paths(self, index: int) -> list[Path]:
        """The scan and the drive's calibration."""
        day = self.files[index].parents[3]
        return [self.files[index], day / _CAMERA, day / _LIDAR]


def open_raw(
    base: str | Path,
    date: str,
    drive: str | int,
    *,
    camera_view: bool = True,
    point_settings: PointsConfig = _DEFAULT,
) -> KittiRaw:
    """Open ``base/date/date_drive_NNNN_sync``, with the calibration from the files in ``base/date``.

    Only the scans and the calibration of LiDAR and cameras are needed, not the positions (oxts).
    date: such as 2011_09_26.
    drive: its number (5, "5" or "0005") or the folder's name.
    Raises DataError that names the folder or file that is missing or malformed, or whose times run backwards.
    """
    number = re.fullmatch(rf"(?:{re.escape(date)}_drive_)?(\d+)(?:_sync)?", str(drive))
    if number is None:
        raise DataError(f"drive '{drive}': not a drive of {date}; give its number, such as 0005")
    day = Path(base) / date
    folder = day / f"{date}_drive_{int(number[1]):04d}_sync"
    scans = folder / "velodyne_points" / "data"
    missing = next((path for path in (day, day / _LIDAR, day / _CAMERA, folder, scans) if not path.exists()), None)
    if missing is not None:
        raise DataError(f"{missing}: missing from the raw drive; unpack KITTI's synced data and calib archives")
    files = sorted(file for file in scans.iterdir() if file.suffix == ".bin")
    if not files:
        raise DataError(f"{scans}: no .bin file; unpack the synced data again")
    check_axes(day / _LIDAR, point_settings)
    calibration, size = read_raw_calibration(day)
    size = _image_of(folder) or size or usual_size(day / _CAMERA, calibration)
    return KittiRaw(files, calibration, size, camera_view=camera_view, point_settings=point_settings)


def read_raw_calibration(day: Path) -> tuple[Calibration, Size | None]:
    """Calibration of the left colour camera from the files of one day, and its image size if they state it."""
    cameras, lidar = read_entries(day / _CAMERA), read_entries(day / _LIDAR)
    rotation, shift = (matrix(day / _LIDAR, lidar, (key,), shape) for key, shape in (("R", (3, 3)), ("T", (3, 1))))
    calibration = Calibration(
        p2=matrix(day / _CAMERA, cameras, ("P_rect_02",), (3, 4)),
        r0_rect=matrix(day / _CAMERA, cameras, ("R_rect_00",), (3, 3)),
        velo_to_cam=np.hstack([rotation, shift]),
    )
    check_calibration(day / _LIDAR, calibration)
    if "S_rect_02" not in cameras:
        return calibration, None
    width, height = matrix(day / _CAMERA, cameras, ("S_rect_02",), (2,))
    return calibration, (int(width), int(height))


def _image_of(folder: Path) -> Size | None:
    """The size of the drive's colour images; None if there are none."""
    images = folder / "image_02" / "data"
    first = next(iter(sorted(images.iterdir())), None) if images.is_dir() else None
    return None if first is None else size_of_image(first)


def _stamps(files: list[Path]) -> list[int] | None:
    """The time stamp of each scan [ns]; line N of timestamps.txt belongs to scan N.

    Raises DataError for a scan without a time, and for times that run backwards.
    """
    path = files[0].parents[1] / "timestamps.txt"
    if not path.exists():
        return None
    lines = read_text(path).splitlines()
    try:
        stamps = [_nanoseconds(lines[int(file.stem)]) for file in files]
    except (ValueError, IndexError):
        raise DataError(f"{path}: lacks a scan's time, such as 2011-09-26 13:02:25.594360375; copy it again") from None
    check_order(stamps, lambda index: f"{path}: scan {files[index].stem}", "scan", "copy it again")
    return stamps


def _nanoseconds(text: str) -> int:
    """Date and time in UTC as nanoseconds since 1970. KITTI's have nine decimals, more than a datetime supports."""
    whole, _, decimals = text.strip().partition(".")
    seconds = calendar.timegm(datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").timetuple())
    return seconds * 1_000_000_000 + int(decimals[:9].ljust(9, "0"))
