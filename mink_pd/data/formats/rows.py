""".bin files: rows of numbers without a header, described only by the settings."""

from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.data.looks import check_rows, likely
from mink_pd.errors import DataError


def read(content: bytes, path: Path, settings: PointsConfig) -> dict[str, np.ndarray]:
    """Columns by the names in ``settings``. Raises DataError if the bytes look like other columns or another type."""
    row = settings.row
    if len(content) % row.itemsize:
        guess = likely(content)
        hint = f"looks like {guess}" if guess else "copy the file again, or set data.columns and data.dtype"
        raise DataError(
            f"{path}: truncated, {len(content)} bytes are not a whole number of points of {row.itemsize} bytes"
            f" ({', '.join(settings.columns)} of {dtype_text(settings)}); {hint}"
        )
    table = np.frombuffer(content, row)  # (P,)
    columns = {name: table[str(n)] for n, name in enumerate(settings.columns) if name != "_"}
    check_rows(content, path, settings, columns)
    return columns


def dtype_text(settings: PointsConfig) -> str:
    """The setting ``dtype`` as written on a command line."""
    return settings.dtype if isinstance(settings.dtype, str) else f"[{', '.join(settings.dtype)}]"
