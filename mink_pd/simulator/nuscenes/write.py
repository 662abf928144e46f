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
from mink_pd.simulator.write import each, whole_data_set

VERSION = 1  # raise it whenever the same seed would give other bytes
SPLITS = {"v1.0-trainval": ("train", "val"), "v1.0-mini": ("mini_train", "mini_val")}


@dataclass(frozen=True)
class Settings:
    """Everything that a simulated data set depends on. train, val: scenes; keyframes: of each scene, 0.5 s apart.

    schema: the version folder, v1.0-trainval or v1.0-mini; scenes bear the names that the devkit has in its splits.
    """

    train: int = 20
    val: int = 12
    keyframes: int = 5
    seed: int = 0
    schema: str = "v1.0-trainval"
    version: int = VERSION


@dataclass
class Summary:
    """What one scene holds: points of the keyframes' own turns, and annotations by category."""

    points: int
    objects: Counter


def simulate(
    out: Path,
    settings: Settings,
    workers: int = 1,
    force: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> list[Summary] | None:
    """Write a data set to ``out``, whole or not at all; None if it is there already. ``advance`` is called after each
    scene.

    Raises DataError when the devkit is missing, a split has fewer scenes than wanted, or ``out`` cannot be written or
    holds something else.
    """
    names = _scene_names(settings)
    with whole_data_set(out, asdict(settings), force) as root:
        if root is None:
            return None
        for folder in ("samples", "sweeps"):
            (root / folder / "LIDAR_TOP").mkdir(parents=True)
        scenes: list[SceneRecords] = []
        work = partial(_write_scene, root, settings.seed, settings.keyframes)
        for scene in each(work, list(enumerate(names)), workers):
            scenes.append(scene)
            advance()
        write_tables(root, settings.schema, scenes)
    return [Summary(scene.points, Counter(scene.objects)) for scene in scenes]


def _write_scene(root: Path, seed: int, keyframes: int, scene: tuple[int, str]) -> SceneRecords:
    return write_scene(root, seed, keyframes, *scene)


def _scene_names(settings: Settings) -> list[str]:
    """The first names of each of the devkit's splits."""
    devkit()
    names: list[str] = []
    for split, wanted in zip(SPLITS[settings.schema], (settings.train, settings.val), strict=True):
        known = split_scenes(split)
        if wanted > len(known):
            raise DataError(
                f"split {split} of {settings.schema}: has {len(known)} scenes, not {wanted}; ask for more keyframes a"
                " scene, or for v1.0-trainval"
            )
        names += known[:wanted]
    return names
