"""Lists of frames, and the order of frames by name."""

import re
from pathlib import Path

from mink_pd.errors import DataError
from mink_pd.files import read_text


def read_frame_list(path: Path) -> list[str]:
    """The IDs in a text file, one per line, in its order. Raises DataError if it is not text or names a frame twice."""
    lines = read_text(path, remedy="give a text file with one frame ID per line").splitlines()
    ids = [id for id in map(str.strip, lines) if id]
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise DataError(f"{path}: frame {id} is listed twice; list each frame once")
        if "/" in id or "\\" in id or id.startswith("."):
            raise DataError(f"{path}: '{id[:60]}' is not a frame ID; write names of files without folder and suffix")
        seen.add(id)
    return ids


def by_number(path: Path) -> tuple[list[str | int], str]:
    """A key that sorts files by name without suffix, and the numbers in it by value: 2.bin before 10.bin."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.stem)]
    return parts, path.name
