"""nuscenes-devkit, which is an optional extra, behind errors that say what to do."""

from importlib import import_module
from types import ModuleType

from mink_pd.errors import DataError


def devkit(module: str = "nuscenes") -> ModuleType:
    """A module of the devkit. Raises DataError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"nuScenes is read and scored with its devkit, which is not installed ({error}); run make setup, or"
            " pip install -e .[nuscenes]"
        ) from None


def split_scenes(split: str) -> list[str]:
    """The names of the scenes in one of the devkit's own splits."""
    return devkit("nuscenes.utils.splits").create_splits_scenes()[split]
