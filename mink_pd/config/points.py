"""Settings of point cloud files: properties that the files do not state and that must not be guessed."""

from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from mink_pd.config.section import Range, Section

BY_TYPE, NONE = "by_type", "none"  # of ``intensity``
X_FORWARD: Literal["x_forward"] = "x_forward"  # of ``axes``: the files are in the LiDAR frame
_FROM_Y_FORWARD = [[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]  # x right, y forward


class PointsConfig(Section):
    """How the point cloud files of one sensor are read.

    columns: names of the values of a point in .bin files and in unnamed .npy and .npz arrays, in their order; x, y and
    z must be among them. dtype: of these values, as NumPy names it (float32, float64, >f4, int16, ...); a list gives
    one for each column. intensity: full scale of the sensor, by which values are divided (1, 255, 65535, ...).
    ``by_type``: floats are 0..1 and single bytes 0..255; other types need a number. ``none``: the sensor measures no
    intensity, and it is set to 0. axes: of the files: x_forward (y left, z up: the LiDAR frame), y_forward (x right),
    or a 4x4 matrix to x_forward in metres, which may rotate about z, scale and shift. own_vehicle: points in this box
    (x, y, z from, x, y, z to [m], LiDAR frame) are left out. returns: keep only the points whose column ``return``
    (LAS: return_number) has this value; None: all.
    """

    columns: list[str] = ["x", "y", "z", "intensity"]
    dtype: str | list[str] = "float32"
    intensity: float | str = BY_TYPE
    axes: Literal["x_forward", "y_forward"] | list[list[float]] = X_FORWARD
    own_vehicle: Range | None = None
    returns: int | None = Field(None, ge=0)

    @field_validator("columns")
    @classmethod
    def _columns_are_named(cls, columns: list[str]) -> list[str]:
        lower = [name.strip().lower() for name in columns]
        missing = [name for name in "xyz" if name not in lower]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}; name every value of a point, such as [x, y, z, intensity]")
        named = [name for name in lower if name != "_"]  # _ is padding
        if len(set(named)) != len(named):
            raise ValueError("names a column twice; write _ for values that are not wanted")
        return lower

    @field_validator("dtype")
    @classmethod
    def _dtype_is_numeric(cls, dtype: str | list[str]) -> str | list[str]:
        for name in [dtype] if isinstance(dtype, str) else dtype:
            try:
                kind = np.dtype(name).kind
            except (TypeError, ValueError, SyntaxError):
                kind = ""
            if kind not in ("f", "i", "u"):
                raise ValueError(f"'{name}' is not a type of numbers; write for example float32, float64, >f4 or int16")
        return dtype

    @field_validator("intensity", mode="before")
    @classmethod
    def _intensity_is_a_scale(cls, value: Any) -> float | str:
        if value in (BY_TYPE, NONE):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf:
            return float(value)
        raise ValueError(f"must be the sensor's full scale (1, 255, 65535, ...), {NONE} or {BY_TYPE}, not {value!r}")

    @field_validator("axes")
    @classmethod
    def _turn_about_z(cls, value: Any) -> Any:
        if isinstance(value, list):
            matrix = np.array(value if {len(row) for row in value} == {4} else [], np.float64)
            turn = matrix[:3, :3] if matrix.shape == (4, 4) else np.zeros((3, 3))
            scale = np.cbrt(np.linalg.det(turn))
            upright = np.allclose(turn[2, :2], 0, atol=1e-6 * max(scale, 0)) and np.allclose(turn[:2, 2], 0, atol=1e-6)
            if scale <= 0 or not upright or not np.allclose(turn @ turn.T, scale**2 * np.eye(3), atol=1e-3 * scale**2):
                raise ValueError("must be x_forward, y_forward or a 4x4 matrix that turns about z, scales and shifts")
            if not np.array_equal(matrix[3], [0, 0, 0, 1]):
                why = "; it seems to be written column by column" if np.array_equal(matrix[:, 3], [0, 0, 0, 1]) else ""
                raise ValueError(f"must have the last row [0, 0, 0, 1]{why}")
        return value

    @model_validator(mode="after")
    def _one_type_a_column(self) -> "PointsConfig":
        if isinstance(self.dtype, list) and len(self.dtype) != len(self.columns):
            raise ValueError(f"dtype lists {len(self.dtype)} types for {len(self.columns)} columns; write one for each")
        return self

    @property
    def to_lidar(self) -> np.ndarray | None:
        """Transform (4, 4) from the files' coordinates to the LiDAR frame: x forward, y left, z up [m]; None: none."""
        if self.axes == X_FORWARD:
            return None
        return np.array(_FROM_Y_FORWARD if isinstance(self.axes, str) else self.axes)

    @property
    def row(self) -> np.dtype:
        """The structured type of one point; fields are numbered, since padding may come several times."""
        types = self.dtype if isinstance(self.dtype, list) else [self.dtype] * len(self.columns)
        return np.dtype([(str(n), np.dtype(name)) for n, name in enumerate(types)])
