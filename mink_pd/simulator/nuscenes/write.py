"""Writes simulated data sets in the schema of nuScenes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mink_pd.data.devkit import devkit, split_scenes
from mink_pd.errors import DataError
from mink_pd.simulator.nuscenes.drive import SceneRecords, write_scene
from mink_pd.simulator.nuscenes.tables import write_tables
from mink_pd.simulator.write import map_processes, new_data_set

VERSION = 1  # to be raised whenever the same seed gives other bytes
SPLITS = {"v1.0-trainval": ("train", "val"), "v1.0-mini": ("mini_train", "mini_val")}


@dataclass(frozen=True)
class Settings:
    """Everything that a simulated data set depends on."""

    train: int = 20  # scenes
    val: int = 12  # scenes
    keyframes: int = 5  # per scene, 0.5 s apart
    seed: int = 0
    schema: str = "v1.0-trainval"  # version folder; scenes get the names in the devkit's splits of this version
    version: int = VERSION


@dataclass
class Summary:
    """The content of one scene."""

    points: int  # in the keyframes' own turns
    objects: Counter  # annotations by category


def simulate(
    out: Path,
    settings: Settings,
    workers: int = 1,
    force: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> list[Summary] | None:
    """Write a data set to ``out``, completely or not at all; returns None if it exists already.

    advance: called after each scene.
    Raises DataError if the devkit is missing, a split of the devkit has too few scenes, or ``out`` cannot be written
    or holds something else.
    """
    names = _scene_names(settings)
    with new_data_set(out, asdict(settings), force) as root:
        if root is None:
            return None
        for folder in ("samples", "sweeps"):
            (root / folder / "LIDAR_TOP").mkdir(parents=True)
        work = partial(_write_scene, root, settings.seed, settings.keyframes)
        scenes = map_processes(work, list(enumerate(names)), workers, advance)
        write_tables(root, settings.schema, scenes)
    return [Summary(scene.points, Counter(scene.objects)) for scene in scenes]


def _write_scene(root: Path, seed: int, keyframes: int, scene: tuple[int, str]) -> SceneRecords:
    return write_scene(root, seed, keyframes, *scene)


def _scene_names(settings: Settings) -> list[str]:
    """The names of the scenes: the first ones in each of the devkit's splits."""
    devkit()
    names: list[str] = []
    for split, wanted in zip(SPLITS[settings.schema], (settings.train, settings.val), strict=True):
        known = split_scenes(split)
        if wanted > len(known):
            raise DataError(
                f"split {split} of {settings.schema}: has {len(known)} scenes, not {wanted}; use more keyframes per"
                " scene, or v1.0-trainval"
            )
        names += known[:wanted]
    return names
