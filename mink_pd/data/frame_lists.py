"""Lists of frames: text files with one ID per line."""

from pathlib import Path

from mink_pd.errors import DataError
from mink_pd.files import read_text


def read_frame_list(path: Path) -> list[str]:
    """The IDs in a file, in its order. Raises DataError if it is not text or names a frame twice."""
    ids = read_text(path, remedy="give a text file with one frame ID per line").split()
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise DataError(f"{path}: frame {id} is listed twice; list each frame once")
        if "/" in id or "\\" in id or id.startswith("."):
            raise DataError(f"{path}: '{id[:60]}' is not a frame ID; write names of files without folder and suffix")
        seen.add(id)
    return ids
