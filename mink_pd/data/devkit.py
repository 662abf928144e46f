"""Access to nuscenes-devkit, an optional package, with errors that say what to do."""

import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mink_pd.errors import DataError

# Every table of a version folder, and its columns that refer to records of other tables.
REFERENCES: dict[str, dict[str, str]] = {
    "category": {},
    "attribute": {},
    "visibility": {},
    "sensor": {},
    "log": {},
    "ego_pose": {},
    "map": {"log_tokens": "log"},
    "calibrated_sensor": {"sensor_token": "sensor"},
    "scene": {"log_token": "log", "first_sample_token": "sample", "last_sample_token": "sample"},
    "sample": {"scene_token": "scene", "prev": "sample", "next": "sample"},
    "sample_data": {
        "sample_token": "sample",
        "ego_pose_token": "ego_pose",
        "calibrated_sensor_token": "calibrated_sensor",
        "prev": "sample_data",
        "next": "sample_data",
    },
    "instance": {
        "category_token": "category",
        "first_annotation_token": "sample_annotation",
        "last_annotation_token": "sample_annotation",
    },
    "sample_annotation": {
        "sample_token": "sample",
        "instance_token": "instance",
        "attribute_tokens": "attribute",
        "prev": "sample_annotation",
        "next": "sample_annotation",
    },
}
# The devkit scores a split only if the version's name ends like this.
_VERSION_OF_SPLIT = {"mini_train": "mini", "mini_val": "mini", "test": "test"}
_VERSION_OF_SPLIT |= dict.fromkeys(("train", "val", "train_detect", "train_track"), "trainval")


def devkit(module: str = "nuscenes") -> ModuleType:
    """A module of the devkit. Raises DataError if the devkit is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"nuscenes-devkit, which reads and scores nuScenes, is not installed ({error}); run make setup, or"
            " pip install -e .[nuscenes]"
        ) from None


def split_scenes(split: str) -> list[str]:
    """The names of the scenes in one of the devkit's own splits."""
    return devkit("nuscenes.utils.splits").create_splits_scenes()[split]


def open_tables(root: Path, version: str) -> Any:
    """The devkit's ``NuScenes`` of a version folder, cached until another one is opened or a table changes.

    Raises DataError if the devkit or the folder is missing, a table is missing or damaged, or a token has no record.
    """
    folder = root / version
    devkit()
    if not folder.is_dir():
        present = sorted(path.name for path in root.glob("v*") if path.is_dir()) if root.is_dir() else []
        there = f"has {', '.join(present)}" if present else "has no version"
        raise DataError(f"{folder}: no such folder; set data.root and data.version ({root} {there})")
    return _load(root, version, tuple(path.stat().st_mtime_ns for path in table_files(root, version)))


def table_files(root: Path, version: str) -> list[Path]:
    """The tables of a version folder. Raises DataError that names a missing one."""
    files = [root / version / f"{table}.json" for table in REFERENCES]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing}: missing, but needed to read nuScenes; copy the version folder again")
    return files


@lru_cache(maxsize=1)  # the official tables take gigabytes of memory
def _load(root: Path, version: str, stamps: tuple[int, ...]) -> Any:
    try:
        return devkit("nuscenes.nuscenes").NuScenes(version=version, dataroot=str(root), verbose=False)
    except Exception as error:  # the devkit checks nothing; explain() finds out what is wrong with the tables
        raise explain(root / version, error) from None


def explain(folder: Path, error: Exception) -> DataError:
    """An error that names the fault of the tables in ``folder`` that made the devkit, or this module, fail."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for table in REFERENCES:
        try:
            tables[table] = json.loads((folder / f"{table}.json").read_text())
            known = all(isinstance(record["token"], str) for record in tables[table])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            known = False
        if not known:
            return DataError(f"{folder / table}.json: not a list of records with tokens; copy the table again")
    tokens = {table: {record["token"] for record in records} for table, records in tables.items()}
    for table, columns in REFERENCES.items():
        for column, target in columns.items():
            for record in tables[table]:
                value = record.get(column)
                for token in value if isinstance(value, list) else [value]:
                    if not (isinstance(token, str) and token in tokens[target]) and not (
                        token == "" and column in ("prev", "next")
                    ):
                        return DataError(
                            f"{folder / table}.json: '{column}' of record {record['token']} is {token!r}, and no record"
                            f" of {target}.json has that token; copy the tables again, all of one version"
                        )
    return DataError(f"{folder}: the devkit cannot read it ({type(error).__name__}: {error}); copy the tables again")


def scenes_of_split(tables: Any, split: str) -> set[str]:
    """Names of the scenes of a split.

    split: one of the devkit's, one of the version folder's splits.json, or the name of a scene.
    Raises DataError for a split that is unknown or not in this version.
    """
    folder = Path(tables.dataroot) / tables.version
    if any(scene["name"] == split for scene in tables.scene):
        return {split}
    wanted = _VERSION_OF_SPLIT.get(split)
    if wanted is not None and not tables.version.endswith(wanted):
        fitting = [name for name, end in _VERSION_OF_SPLIT.items() if tables.version.endswith(end)]
        advice = f"use {' or '.join(fitting)}" if fitting else "list your scenes in its splits.json"
        raise DataError(f"{folder}: the devkit has no split '{split}' of this version; {advice}")
    try:
        names = set(devkit("nuscenes.utils.splits").get_scenes_of_split(split, tables))
    except (ValueError, AssertionError, OSError):
        raise DataError(
            f"{folder}: no split '{split}'; use {', '.join(_VERSION_OF_SPLIT)}, or list its scenes in its splits.json"
        ) from None
    if not names & {scene["name"] for scene in tables.scene}:
        raise DataError(f"{folder}: has no scene of split '{split}'; choose another split or another data.version")
    return names
