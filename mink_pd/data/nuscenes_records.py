"""The numbers in records of nuScenes' tables, checked, because the devkit checks nothing."""

from pathlib import Path
from typing import Any

import numpy as np

from mink_pd.errors import DataError

_LEAST_NORM = 1e-3  # of a quaternion; a smaller one has lost its rotation


def matrix(table: Path, record: dict[str, Any]) -> np.ndarray:
    """Transform (4, 4) from a record's translation [m] and rotation. Raises DataError that names table and token."""
    from scipy.spatial.transform import Rotation  # imported late: every program imports this module

    translation, quaternion = places(table, [record])
    result = np.eye(4)
    result[:3, :3] = Rotation.from_quat(np.roll(quaternion[0], -1)).as_matrix()
    result[:3, 3] = translation[0]
    return result


def places(table: Path, records: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Translations (R, 3) [m] and unit quaternions (R, 4), as w, x, y, z, of records, float64.

    Raises DataError that names the table and the first record with impossible ones.
    """
    translation = numbers(records, "translation", 3)
    quaternion = numbers(records, "rotation", 4)
    norm = np.linalg.norm(quaternion, axis=1, keepdims=True)  # (R, 1)
    check_records(table, records, "translation", np.isfinite(translation).all(axis=1))
    check_records(table, records, "rotation", np.isfinite(norm[:, 0]) & (norm[:, 0] > _LEAST_NORM))
    return translation, quaternion / norm


def numbers(records: list[dict[str, Any]], key: str, columns: int) -> np.ndarray:
    """The values of a key, float64 (R, columns)."""
    return np.array([record[key] for record in records], np.float64).reshape(-1, columns)


def check_records(table: Path, records: list[dict[str, Any]], key: str, possible: np.ndarray) -> None:
    """Raise DataError that names the first record which the mask (R,) leaves out."""
    if not possible.all():
        record = records[int(np.argmin(possible))]
        raise DataError(
            f"{table}: '{key}' of record {record['token']} is {record[key]}, which is impossible; copy the table again"
        )
