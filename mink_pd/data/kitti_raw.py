"""Drives of KITTI's raw data (Geiger et al., IJRR 2013), synchronised and rectified, through pykitti."""

import calendar
import importlib.util
import re
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.data.calibration import Calibration
from mink_pd.data.frame import Frame
from mink_pd.data.kitti import IMAGE_SIZE
from mink_pd.data.points import read_cloud
from mink_pd.data.projection import in_camera_view
from mink_pd.errors import DataError
from mink_pd.files import read_text

_CALIBRATION = ("calib_imu_to_velo.txt", "calib_velo_to_cam.txt", "calib_cam_to_cam.txt")

_DEFAULT = PointsConfig()


class KittiRaw:
    """The scans of one drive as frames without boxes; ids are the scans' numbers, such as 0000000005.

    Scans may be missing in the middle of a drive (they are in some official ones): frames follow the scan
    files. stamps: of each scan [ns], None without velodyne_points/timestamps.txt.
    """

    def __init__(self, drive: Any, *, camera_view: bool = True, point_settings: PointsConfig = _DEFAULT) -> None:
        """drive: a ``pykitti.raw``. camera_view: keep only the points that the left colour camera sees."""
        self.files = [Path(file) for file in drive.velo_files]
        self.ids = [file.stem for file in self.files]
        self.stamps = _stamps(self.files)
        self.camera_view, self.point_settings = camera_view, point_settings
        self.calibration = Calibration(
            p2=drive.calib.P_rect_20,
            r0_rect=drive.calib.R_rect_00[:3, :3],
            velo_to_cam=drive.calib.T_cam0_velo_unrect[:3],
        )
        self.calibration_files = [Path(drive.calib_path) / name for name in _CALIBRATION]
        self.image_size = _image_size(Path(drive.calib_path) / "calib_cam_to_cam.txt")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Frame:
        """Read scan ``index``. Raises DataError naming the file when it is malformed."""
        points, dropped = read_cloud(self.files[index], self.point_settings)  # (P, 4)
        if self.camera_view:
            points = points[in_camera_view(points, self.calibration, self.image_size)]
        return Frame(self.ids[index], points, calibration=self.calibration, image_size=self.image_size, dropped=dropped)

    def paths(self, index: int) -> list[Path]:
        """The scan and the drive's calibration."""
        return [self.files[index], *self.calibration_files]


def open_raw(
    base: str | Path,
    date: str,
    drive: str | int,
    *,
    camera_view: bool = True,
    point_settings: PointsConfig = _DEFAULT,
) -> KittiRaw:
    """Open ``base/date/date_drive_NNNN_sync``, with the calibration from the drive's own files in
    ``base/date``.

    date: such as 2011_09_26. drive: its number (5, "5" or "0005") or the folder's name.
    Raises DataError naming the folder or file that is missing or malformed.
    """
    number = re.fullmatch(rf"(?:{re.escape(date)}_drive_)?(\d+)(?:_sync)?", str(drive))
    if number is None:
        raise DataError(f"drive '{drive}': not a drive of {date}; give its number, such as 0005")
    name = f"{int(number[1]):04d}"
    day = Path(base) / date
    folder = day / f"{date}_drive_{name}_sync"
    wanted = [day, *(day / file for file in _CALIBRATION), folder]
    wanted += [
        folder / "velodyne_points" / "data",
        folder / "oxts" / "data",
        folder / "oxts" / "timestamps.txt",
    ]
    missing = next((path for path in wanted if not path.exists()), None)
    if missing is not None:
        raise DataError(f"{missing}: missing from the raw drive; unpack KITTI's synced data and calib archives")
    try:
        raw = _pykitti().raw(str(base), date, name)
    except (OSError, KeyError, ValueError, TypeError) as error:
        detail = " ".join(str(error).split())
        raise DataError(
            f"{folder}: pykitti cannot read the drive ({type(error).__name__}: {detail}); unpack it again"
        ) from None
    if not raw.velo_files:
        raise DataError(f"{folder / 'velodyne_points' / 'data'}: no .bin file; unpack the synced data again")
    return KittiRaw(raw, camera_view=camera_view, point_settings=point_settings)


def _pykitti() -> ModuleType:
    """pykitti, whose tracking module wants OpenCV without saying so; raw drives do not need it."""
    if importlib.util.find_spec("cv2") is not None:
        import pykitti

        return pykitti
    sys.modules["cv2"] = ModuleType("cv2")
    try:
        import pykitti
    finally:
        del sys.modules["cv2"]
    return pykitti


def _stamps(files: list[Path]) -> list[int] | None:
    """The time stamp of each scan [ns]: line N of timestamps.txt is scan N's."""
    path = files[0].parents[1] / "timestamps.txt"
    if not path.exists():
        return None
    lines = read_text(path).splitlines()
    try:
        return [_nanoseconds(lines[int(file.stem)]) for file in files]
    except (ValueError, IndexError):
        raise DataError(f"{path}: lacks a scan's time, such as 2011-09-26 13:02:25.594360375; copy it again") from None


def _nanoseconds(text: str) -> int:
    """Date and time in UTC as nanoseconds since 1970; KITTI's have nine decimals, more than a datetime holds."""
    whole, _, decimals = text.strip().partition(".")
    seconds = calendar.timegm(datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").timetuple())
    return seconds * 1_000_000_000 + int(decimals[:9].ljust(9, "0"))


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height [px] of the rectified left colour image, which pykitti leaves out."""
    match = re.search(r"^S_rect_02:\s*(\S+)\s+(\S+)", path.read_text(), re.MULTILINE)
    if match is None:
        return IMAGE_SIZE
    try:
        size = np.array(match.groups(), dtype=np.float64)
    except ValueError:
        raise DataError(f"{path}: 'S_rect_02' must hold a width and a height; copy the file again") from None
    return int(size[0]), int(size[1])
