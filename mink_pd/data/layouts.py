"""Which data set a folder holds, told from its layout."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mink_pd.config import DataConfig
from mink_pd.errors import ConfigError, DataError
from mink_pd.registry import DATASETS

EVERYWHERE = (-1e4, -1e4, -1e4, 1e4, 1e4, 1e4)  # a range [m] that leaves nothing out


def config_of_folder(root: Path, kind: str | None = None, **settings: Any) -> DataConfig:
    """The settings of the data set in a folder, with a range that leaves nothing out; ``settings`` over them.

    kind: in DATASETS; what the layout looks like if None. Raises ConfigError or DataError.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give a data set")
    tables = sorted(path.name for path in root.glob("v1.0-*") if path.is_dir())
    parts = [part for part in ("points", "training", "testing") if (root / part).is_dir()]
    if kind is None and not tables and not parts:
        raise DataError(
            f"{root}: holds none of points/ (a folder of clouds), training/ (KITTI) and v1.0-*/ (nuScenes); give the"
            " folder of a data set, or --kind"
        )
    kind = kind or ("clouds" if "points" in parts else "nuscenes" if tables else "kitti")
    if kind not in DATASETS:
        raise ConfigError(f"command line: --kind {kind}: choose from {', '.join(DATASETS)}")
    more = {"version": tables[-1]} if kind == "nuscenes" and tables else {}
    try:
        return DATASETS[kind].Settings.model_validate(
            {"kind": kind, "root": root, "range": EVERYWHERE, **more, **settings}
        )
    except ValidationError as error:
        raise ConfigError(f"{root}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def splits_of(config: DataConfig) -> tuple[str, str]:
    """The splits for training and validation that go with the data set."""
    if getattr(config, "version", None) == "v1.0-mini":
        return "mini_train", "mini_val"
    return config.train_split, config.val_split
