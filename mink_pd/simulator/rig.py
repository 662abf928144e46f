"""KITTI's car: its LiDAR, cameras and inertial unit, and the text of their calibration files.

The numbers are those of a typical KITTI drive: focal length 721.5 px, a stereo baseline of 0.54 m, rotations
of less than a degree between the LiDAR and the camera.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from mink_pd.config.sensor import load_sensor
from mink_pd.data.kitti.calibration import Calibration

HDL64E = load_sensor("hdl64e")
IMAGE_SIZE = (1242, 375)  # width, height [px]
FOCAL, CX, CY = 721.5377, 609.5593, 172.854

# Last column of P0..P3: minus baseline times focal length, and the residual of the rectification.
_LAST_COLUMNS = (
    (0.0, 0.0, 0.0),
    (-387.5744, 0.0, 0.0),
    (44.85728, 0.2163791, 0.002745884),
    (-339.5242, 2.199936, 0.002729905),
)


def _rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rotation (3, 3) from small angles [degrees] about x, y and z."""
    return Rotation.from_euler("xyz", (roll, pitch, yaw), degrees=True).as_matrix()


INTRINSICS = np.array([[FOCAL, 0, CX], [0, FOCAL, CY], [0, 0, 1]])
# Four matrices (3, 4): left grey, right grey, left colour, right colour.
PROJECTIONS: list[np.ndarray] = [np.column_stack([INTRINSICS, column]) for column in _LAST_COLUMNS]
RECTIFY = _rotation(0.247, -0.426, -0.565)
_AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # x forward, z up -> z forward, y down
VELO_TO_CAM = np.column_stack([_AXES @ _rotation(-0.04, 0.848, -0.432), (-0.00407, -0.07632, -0.2718)])  # (3, 4)
IMU_TO_VELO = np.column_stack([_rotation(0.849, 0.117, -0.044), (-0.80868, 0.31956, -0.79972)])  # (3, 4)


def calibration() -> Calibration:
    """The calibration that detectors need."""
    return Calibration(p2=PROJECTIONS[2], r0_rect=RECTIFY, velo_to_cam=VELO_TO_CAM)


def object_calibration_lines() -> str:
    """The text of a calib file of the object benchmark, all seven keys."""
    matrices = {f"P{camera}": matrix for camera, matrix in enumerate(PROJECTIONS)}
    matrices |= {"R0_rect": RECTIFY, "Tr_velo_to_cam": VELO_TO_CAM, "Tr_imu_to_velo": IMU_TO_VELO}
    return lines(matrices)


def raw_calibration_lines() -> dict[str, str]:
    """The texts of a raw drive's three calibration files, by file name."""
    cameras: dict[str, np.ndarray] = {"corner_dist": np.array([0.09950])}
    size = np.array(IMAGE_SIZE, float)
    for camera, matrix in enumerate(PROJECTIONS):
        offset = np.array([matrix[0, 3] / FOCAL, 0.0, 0.0])
        cameras |= {
            f"S_{camera:02d}": size,
            f"K_{camera:02d}": matrix[:, :3],
            f"D_{camera:02d}": np.zeros(5),
            f"R_{camera:02d}": np.eye(3),
            f"T_{camera:02d}": offset,
            f"S_rect_{camera:02d}": size,
            f"R_rect_{camera:02d}": RECTIFY,
            f"P_rect_{camera:02d}": matrix,
        }
    rigid = {name: {"R": m[:, :3], "T": m[:, 3]} for name, m in (("velo", VELO_TO_CAM), ("imu", IMU_TO_VELO))}
    return {
        "calib_cam_to_cam.txt": lines(cameras),
        "calib_velo_to_cam.txt": lines(rigid["velo"]),
        "calib_imu_to_velo.txt": lines(rigid["imu"]),
    }


def lines(matrices: dict[str, np.ndarray]) -> str:
    """Lines ``key: numbers`` with the numbers row by row, the format of all of KITTI's calibration files."""
    return "".join(
        f"{key}: {' '.join(f'{value:.12e}' for value in np.ravel(matrix))}\n" for key, matrix in matrices.items()
    )
