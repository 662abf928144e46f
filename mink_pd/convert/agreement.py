"""Settings and classes with which a framework's weights fit the detector and mean something else."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mink_pd.config import Config, flat, load_config
from mink_pd.config.centerpoint import CenterDetectorConfig
from mink_pd.config.models import AnchorDetectorConfig, PillarEncoderConfig
from mink_pd.config.shipped import CONFIGS, shipped_names
from mink_pd.convert.dialects import DIALECTS
from mink_pd.convert.tensor_files import Stated
from mink_pd.errors import CheckpointError, ConfigError

# What no tensor's shape shows and differs between frameworks, or from our own configurations.
_CONVENTIONS = (
    "model.bev",
    "model.head.places",
    "model.head.headings",
    "model.head.direction_offset",
    "model.box_coder",
    "model.norm_epsilon",
    "model.roi.heights",
    "model.roi.margin",
    "model.roi.depth",
)
_SLOTS = ("model.max_points", "model.empty_slots")  # each network has its own number; but one with slots needs slots
_NOT_LEGACY = re.compile(r"\blegacy['\"]?\s*[=:]\s*False")  # in the text of a configuration
_NEAR = 0.01  # relative difference of numbers that mean the same, such as headings of 1.57 and pi / 2


def check_settings(config: Config, framework: str, overrides: Sequence[str]) -> list[str]:
    """Compare with the published configuration of the same detector what the framework fixes and no tensor shows.

    overrides: ``key=value`` that the user gave; these may differ. Returns a line for each of them that does.
    Raises ConfigError that lists the other keys that differ.
    """
    name = f"published/{framework}_{config.model.name}"
    path = CONFIGS / f"{name}.yaml"
    if not path.is_file():
        return []  # no published weights of this detector, which the names of its modules will tell
    ours, theirs = flat(config), flat(load_config(path))
    given = [text.partition("=")[0] for text in overrides]
    chosen: list[str] = []
    wrong: list[str] = []
    for key in (key for key in (*_CONVENTIONS, *_SLOTS) if key in ours and key in theirs):
        if _differs(key, ours[key], theirs[key]):
            is_given = any(key == one or key.startswith(f"{one}.") for one in given)
            (chosen if is_given else wrong).append(f"{key}={_text(theirs[key])} (not {_text(ours[key])})")
    if wrong:
        raise ConfigError(
            f"--config: weights of {framework} are for {', '.join(wrong)}; use --config {name}, or one with it as its"
            " base; or set these on the command line, where key=value is taken as given"
        )
    return [f"{framework}'s published weights are for {text}" for text in chosen]


def check_stated(path: Path, stated: Stated, config: Config, framework: str) -> None:
    """Raise CheckpointError for weights whose file names other classes, in another order, or pillar channels that the
    framework's published weights do not have."""
    model, anchors = config.model, DIALECTS[framework].anchors
    ours = _order(config)
    if stated.classes and not _same(stated.classes, ours):
        tasks = _tasks(config)
        key, value = ("data.classes", ours) if tasks is None else ("model.tasks", tasks)
        raise CheckpointError(
            f"{path}: was trained on the classes {_text(list(stated.classes))}, and {key} is {_text(value)};"
            f" {_remedy(stated.classes, ours, key, f'{framework}_{model.name}')}"
        )
    legacy = anchors is not None and anchors.legacy_pillars and isinstance(model, AnchorDetectorConfig)
    if legacy and isinstance(model, PillarEncoderConfig) and _NOT_LEGACY.search(stated.settings):
        raise CheckpointError(
            f"{path}: was trained with pillar channels of legacy=False, and only those of legacy=True are known here;"
            " import weights trained with legacy=True, MMDetection3D's default"
        )


def _remedy(theirs: Sequence[str], ours: Sequence[str], key: str, published: str) -> str:
    """What to do about other classes. A published configuration may have more that goes with them than their order."""
    for name in shipped_names("published"):
        if name.startswith(published) and _same(theirs, _order(load_config(CONFIGS / f"published/{name}.yaml"))):
            return f"use --config published/{name}, or one with it as its base"
    if key == "model.tasks":
        return f"set {key} to groups of them in this order"
    spelled = {_plain(name): name for name in ours}
    return f"set {key}={_text([spelled.get(_plain(name), name) for name in theirs])}"


def _tasks(config: Config) -> list[list[str]] | None:
    return config.model.tasks if isinstance(config.model, CenterDetectorConfig) else None


def _order(config: Config) -> list[str]:
    """The classes as the network's outputs have them; CenterPoint's branches stand in the order of its tasks."""
    tasks = _tasks(config)
    return config.data.classes if tasks is None else [name for group in tasks for name in group]


def _same(some: Sequence[str], others: Sequence[str]) -> bool:
    return [*map(_plain, some)] == [*map(_plain, others)]


def _differs(key: str, ours: Any, theirs: Any) -> bool:
    if key in _SLOTS:
        return bool(theirs) and not ours
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) != len(theirs) or any(_differs(key, *pair) for pair in zip(ours, theirs, strict=True))
    if isinstance(ours, float) and isinstance(theirs, float):
        return not math.isclose(ours, theirs, rel_tol=_NEAR)
    return bool(ours != theirs)


def _plain(name: str) -> str:
    """A class's name without what different spellings differ in: case, blanks, hyphens, underscores."""
    return re.sub(r"[\s_-]", "", name.lower())


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
