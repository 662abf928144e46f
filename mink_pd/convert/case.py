"""A case for ``--verify``: a frame, and what a framework itself answered."""

from pathlib import Path

import numpy as np

from mink_pd.errors import CheckpointError
from mink_pd.files import reading

_ROWS = "box_preds_rows"


class Case:
    """The arrays of ``expected.npz`` in a folder, by name; each is checked when it is asked for.

    Raises DataError if the file cannot be read, and CheckpointError that names the array for one that is missing or
    not what it should be.
    """

    def __init__(self, folder: Path, detector: str) -> None:
        """detector: its name. A file may hold answers of several, whose arrays then begin with the name of theirs."""
        self.path = folder / "expected.npz"
        with reading(self.path, remedy="give a folder with points.bin and expected.npz"), np.load(self.path) as file:
            self._arrays = {name.removeprefix(f"{detector}_"): file[name] for name in file.files}
        if "rows" in self._arrays:
            self._arrays.setdefault(_ROWS, self._arrays["rows"])

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    @property
    def names(self) -> list[str]:
        return list(self._arrays)

    def numbers(self, name: str, *shape: int) -> np.ndarray:
        """An array of numbers. shape: what it must have; -1: any length along this axis."""
        if name not in self._arrays:
            raise CheckpointError(
                f"{self.path}: lacks {name}, which other arrays in it need; add it, or leave them out"
            )
        array: np.ndarray = self._arrays[name]
        if array.dtype.kind not in "iufb":
            raise CheckpointError(f"{self.path}: {name} is of type {array.dtype}; write it as numbers")
        fits = array.ndim == len(shape) and all(n in (-1, have) for n, have in zip(shape, array.shape, strict=True))
        if not fits:
            wanted = str(shape).replace("-1", "any")
            raise CheckpointError(f"{self.path}: {name} has the shape {array.shape}, not {wanted}; write it again")
        return array

    def index(self, name: str) -> np.ndarray:
        """An array (n,) of places in another one."""
        array = self.numbers(name, -1)
        if array.dtype.kind not in "iu" or (array < 0).any():
            raise CheckpointError(f"{self.path}: {name} must hold whole numbers from 0 on; write it again")
        return array.astype(np.int64)

    def rows(self) -> np.ndarray | None:
        """The rows of the head's map that it has answers for; None: of all."""
        return self.index(_ROWS) if _ROWS in self else None
