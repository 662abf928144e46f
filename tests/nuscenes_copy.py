"""A data set in nuScenes' schema whose tables may be spoilt."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

VERSION = "v1.0-trainval"


def copy_tables(root: Path, to: Path) -> Path:
    """``root`` with its own tables, and the clouds and maps of the original."""
    to.mkdir()
    copytree(root / VERSION, to / VERSION)
    for folder in ("samples", "sweeps", "maps"):
        (to / folder).symlink_to(root / folder)
    return to


def change(root: Path, table: str, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Read a table, edit it in place, write it."""
    path = root / VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    edit(records)
    path.write_text(json.dumps(records))
