"""Whether a point cloud file is one of many, or a copy of one of them."""

import filecmp
import hashlib
from collections.abc import Iterable
from pathlib import Path

from mink_pd.data.dataset import probe
from mink_pd.files import reading


class CloudFiles:
    """Point cloud files. ``path in files``: whether a file is one of them, be it by a link, or has the bytes of one.

    Of each file its size and middle are read; only files that agree in these are compared byte by byte. Raises
    DataError if a file cannot be read.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._paths = {path.resolve() for path in files}
        self._alike: dict[bytes, list[Path]] = {}
        for path in self._paths:
            self._alike.setdefault(_digest(path), []).append(path)

    def __contains__(self, path: Path) -> bool:
        if path.resolve() in self._paths:
            return True
        return any(_same(path, other) for other in self._alike.get(_digest(path), ()))


def _digest(path: Path) -> bytes:
    return hashlib.sha256(probe(path)).digest()


def _same(one: Path, other: Path) -> bool:
    with reading(one):
        return filecmp.cmp(one, other, shallow=False)
