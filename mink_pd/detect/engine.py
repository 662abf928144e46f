"""The engine (``native/csrc/engine``) from Python: points to boxes on the CPU without torch between the layers."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mink_pd.errors import DataError, MinkPDError
from mink_pd.models import Detections
from mink_pd.native.build import library, library_path
from mink_pd.threads import cores

_NUMBERS = 10  # of a box, float32, before its label


class _Box(ctypes.Structure):
    """``minkpd_box`` of minkpd.h."""

    _fields_ = [("numbers", ctypes.c_float * _NUMBERS), ("label", ctypes.c_int32)]


_BOX = np.dtype([("numbers", np.float32, _NUMBERS), ("label", np.int32)])
assert _BOX.itemsize == ctypes.sizeof(_Box)


class Engine:
    """A detector in the engine. Several Python threads may use it at once; none holds the interpreter meanwhile."""

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        """content: of a file that ``engine_file`` makes; threads: None: as many as this process has cores.

        Raises DataError if the content is damaged or newer, MinkPDError where the compiled path is missing.
        """
        self._library = _interface()
        self._handle = ctypes.c_void_p()
        handle = ctypes.byref(self._handle)
        self._check(self._library.minkpd_load_bytes(content, len(content), threads or cores(), handle))
        self._most: int = self._library.minkpd_most_boxes(self._handle)
        self._columns: int = self._library.minkpd_columns(self._handle)
        self._velocities = bool(self._library.minkpd_velocities(self._handle))

    def detect(self, points: np.ndarray) -> Detections:
        """Detections in points float32 (P, columns of the detector or more). Raises MinkPDError if they are not
        finite."""
        if points.ndim != 2 or points.shape[1] < self._columns:
            raise ValueError(f"expected points of at least {self._columns} columns, got shape {points.shape}")
        rows = np.ascontiguousarray(points, np.float32)
        boxes, found = np.empty(self._most, _BOX), ctypes.c_int64()
        address = rows.ctypes.data_as(ctypes.c_void_p), len(rows), rows.shape[1]
        into = boxes.ctypes.data_as(ctypes.c_void_p), self._most, ctypes.byref(found)
        self._check(self._library.minkpd_detect(self._handle, *address, *into))
        numbers = torch.from_numpy(boxes["numbers"][: found.value].copy())  # (B, 10)
        labels = torch.from_numpy(boxes["label"][: found.value].astype(np.int64))
        return Detections(numbers[:, :7], labels, numbers[:, 7], numbers[:, 8:] if self._velocities else None)

    def set_score(self, score: float) -> None:
        """Report boxes of at least this score [0..1] from now on."""
        self._check(self._library.minkpd_set_score(self._handle, score))

    def _check(self, status: int) -> None:
        if status != 0:
            message = self._library.minkpd_error().decode(errors="replace")
            raise (DataError if status == 1 else MinkPDError)(f"engine: {message}")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.minkpd_free(self._handle)


@functools.cache
def _interface() -> Any:
    """The C functions of minkpd.h. Raises MinkPDError where the compiled path is missing."""
    if library() is None:
        raise MinkPDError("the engine needs mink_pd's compiled operators; install g++ and unset MINK_PD_NATIVE")
    return interface_of(library_path())


def interface_of(path: Path) -> Any:
    """The C functions of minkpd.h in a library, with their types."""
    library = ctypes.CDLL(str(path))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.minkpd_load_bytes.argtypes = [ctypes.c_char_p, number, ctypes.c_int32, pointer]
    library.minkpd_detect.argtypes = [pointer, pointer, number, number, pointer, number, pointer]
    library.minkpd_set_score.argtypes = [pointer, ctypes.c_float]
    library.minkpd_free.argtypes = [pointer]
    library.minkpd_free.restype = None
    for name, result in (("most_boxes", number), ("columns", ctypes.c_int32), ("velocities", ctypes.c_int32)):
        function = getattr(library, f"minkpd_{name}")
        function.argtypes, function.restype = [pointer], result
    library.minkpd_error.restype = ctypes.c_char_p
    return library
