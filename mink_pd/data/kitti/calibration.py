"""Calibration of LiDAR and camera, and KITTI's calib files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mink_pd.config.points import X_FORWARD, PointsConfig
from mink_pd.errors import DataError
from mink_pd.files import is_number, read_text, whole_file

_REMEDY = "give a KITTI calib file"
# The object benchmark's keys, those of tracking, and those of odometry and raw data.
_P2 = ("P2", "P_rect_02")
_R0 = ("R0_rect", "R_rect", "R_rect_00")
_TR = ("Tr_velo_to_cam", "Tr_velo_cam")
_ODOMETRY = "Tr"  # LiDAR -> rectified camera frame, in files without a rectifying rotation
_ORTHOGONAL = 1e-2  # largest difference of R R' from the identity; files have six digits or more
_FARTHEST = 100.0  # largest distance of LiDAR and camera [m]
_LARGEST = 1e6  # largest entry of P2 [px]
_SHORTEST_FOCUS = 10.0  # smallest focal length [px]; below it a projection is a placeholder, such as the identity


@dataclass
class Calibration:
    """Matrices of one KITTI calib file, float64."""

    p2: np.ndarray  # (3, 4) projection of the left colour camera, rectified camera frame -> pixels
    r0_rect: np.ndarray  # (3, 3) rectifying rotation
    velo_to_cam: np.ndarray  # (3, 4) LiDAR -> unrectified camera 0

    @property
    def has_camera(self) -> bool:
        """Whether p2 belongs to a camera. Data without a camera have a placeholder, such as the identity."""
        return bool(min(abs(self.p2[0, 0]), abs(self.p2[1, 1])) >= _SHORTEST_FOCUS)

    @property
    def camera_from_lidar(self) -> np.ndarray:
        """Transform (4, 4) from the LiDAR frame to the rectified camera frame."""
        tr, rect = np.eye(4), np.eye(4)
        tr[:3] = self.velo_to_cam
        rect[:3, :3] = self.r0_rect
        return rect @ tr

    def lidar_to_camera(self, points: np.ndarray) -> np.ndarray:
        """(P, 3) LiDAR frame -> (P, 3) rectified camera frame."""
        transform = self.camera_from_lidar
        return points @ transform[:3, :3].T + transform[:3, 3]

    def camera_to_lidar(self, points: np.ndarray) -> np.ndarray:
        """(P, 3) rectified camera frame -> (P, 3) LiDAR frame."""
        transform = np.linalg.inv(self.camera_from_lidar)
        return points @ transform[:3, :3].T + transform[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, 3) rectified camera frame -> pixels (P, 2) and depth (P,) along the optical axis [m]."""
        image = points @ self.p2[:, :3].T + self.p2[:, 3]
        return image[:, :2] / image[:, 2:3], image[:, 2]


def read_calibration(path: str | Path) -> Calibration:
    """Read a calib file of KITTI's object, tracking or odometry benchmark.

    A matrix may take one line or several. Raises DataError that names the file and the key that is missing, malformed,
    or not a projection or rigid transform.
    """
    path = Path(path)
    entries = read_entries(path)
    p2 = matrix(path, entries, _P2, (3, 4))
    if not any(key in entries for key in _R0) and _ODOMETRY in entries:
        calibration = Calibration(p2, np.eye(3), matrix(path, entries, (_ODOMETRY,), (3, 4)))
    else:
        calibration = Calibration(p2, matrix(path, entries, _R0, (3, 3)), matrix(path, entries, _TR, (3, 4)))
    check_calibration(path, calibration)
    return calibration


def check_axes(path: Path, settings: PointsConfig) -> None:
    """Raise DataError if clouds are turned to other axes, in which their calibration, at ``path``, does not hold."""
    if settings.axes != X_FORWARD:
        raise DataError(
            f"{path}: a calibration is for clouds with x forward, but data.axes is {settings.axes}; set --axes or"
            f" data.axes={X_FORWARD} for such clouds"
        )


def check_calibration(path: Path, calibration: Calibration) -> None:
    """Raise DataError if a matrix is not a projection or rigid transform, as its key demands."""
    p2 = calibration.p2
    if np.abs(p2).max() > _LARGEST or abs(np.linalg.det(p2[:, :3])) < 1e-9:
        raise DataError(f"{path}: P2 projects nothing (singular, or entries above {_LARGEST:g}); copy the file again")
    for key, rotation in (("R0_rect", calibration.r0_rect), ("Tr_velo_to_cam", calibration.velo_to_cam[:, :3])):
        off = np.abs(rotation @ rotation.T - np.eye(3)).max() if np.abs(rotation).max() < 2 else np.inf
        if off > _ORTHOGONAL or np.linalg.det(rotation) < 0:
            raise DataError(f"{path}: '{key}' is not a rotation; copy the file again")
    distance = np.linalg.norm(calibration.velo_to_cam[:, 3])
    if distance > _FARTHEST:
        raise DataError(
            f"{path}: 'Tr_velo_to_cam' puts the camera {distance:.3g} m from the LiDAR; it must be in metres, fix it"
        )


def read_entries(path: Path) -> dict[str, list[str]]:
    """The words after each key of a calib file. A line that begins with a number continues the previous key."""
    entries: dict[str, list[str]] = {}
    key = ""
    for line in read_text(path, remedy=_REMEDY).splitlines():
        head, colon, rest = line.partition(":")
        words = rest.split() if colon else line.split()
        if colon:
            key = head.strip()
            entries[key] = words
        elif words and not is_number(words[0]):  # as in the tracking benchmark, without a colon
            key = words[0]
            entries[key] = words[1:]
        elif key:
            entries[key] += words
    return entries


def matrix(path: Path, entries: dict[str, list[str]], keys: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of the first of the keys that exists. Raises DataError that names it."""
    key = next((key for key in keys if key in entries), None)
    count = int(np.prod(shape))
    if key is None:
        raise DataError(f"{path}: lacks key '{keys[0]}'; add its {count} numbers or copy the file again")
    try:
        values = np.array(entries[key], dtype=np.float64)
    except ValueError:
        raise DataError(f"{path}: '{key}' has a value that is not a number; correct the line") from None
    if values.size != count or not np.isfinite(values).all():
        raise DataError(f"{path}: '{key}' must have {count} finite numbers, not {values.size}; correct the line")
    return values.reshape(shape)


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a calib file with all keys of the benchmark, in its order and with its twelve digits.

    Only camera 2 is known. The other cameras repeat it because common readers find P2 by counting lines.
    """
    entries = {f"P{camera}": calibration.p2 for camera in range(4)}
    entries |= {"R0_rect": calibration.r0_rect, "Tr_velo_to_cam": calibration.velo_to_cam}
    entries["Tr_imu_to_velo"] = np.eye(4)[:3]
    with whole_file(path) as file:
        for key, values in entries.items():
            file.write(f"{key}: {' '.join(f'{value:.12e}' for value in values.ravel())}\n")
