"""Agreement of a configuration with that in a checkpoint. A contradiction is an error that names the key."""

import json
from pathlib import Path
from typing import Any

from mink_pd.config import Config, flat, load_config, override
from mink_pd.config.points import NONE, PointsConfig
from mink_pd.errors import CheckpointError
from mink_pd.models.checkpoint import read_config

# Settings that do not affect a trained detector's output on a frame. All others must be the same as in training.
FREE = (
    "name",
    "runs",
    "seed",
    "plugins",
    "train",
    "distill",
    "evaluate",
    "data.root",
    "data.version",
    "data.train_split",
    "data.val_split",
    "data.val_share",
    "data.split_seed",
    "data.max_frames",
    "data.repeat",
    "data.also",
    "data.class_balanced",
    "data.workers",
    "data.cache_mb",
    "data.augment",
)
# May differ if set on the command line; the user is then told.
CHOICES = ("model.nms", "train.precision", "data.beams")
# Describe the files of one sensor: those of another may differ in them, and their points still mean the same.
OF_FILES = ("data.kind", "data.image_size", *(f"data.{key}" for key in PointsConfig.model_fields))


def positional(given: str | None, overrides: list[str]) -> tuple[str | None, list[str]]:
    """Split the arguments ``[CONFIG] [key=value ...]`` into configuration and overrides."""
    if given is not None and "=" in given and not Path(given).exists():
        return None, [given, *overrides]
    return given, overrides


def evaluated_config(checkpoint: Path, given: str | Path | None, overrides: list[str]) -> tuple[Config, list[str]]:
    """The configuration with which to evaluate the detector in ``checkpoint`` (a file), and overrides to report.

    given: a configuration for everything that does not affect the detector; None: the checkpoint's.
    overrides: ``key=value``. Those of CHOICES are returned, so that the user can be told.
    Raises CheckpointError that names the first key that contradicts the checkpoint, and ConfigError.
    """
    own = read_config(checkpoint)
    chosen = [text for text in overrides if _is_below(text.partition("=")[0], CHOICES)]
    config = override(own, overrides) if given is None else load_config(given, overrides)
    check_agrees(checkpoint, own, config, chosen)
    return config, chosen


def check_agrees(checkpoint: Path, own: Config, given: Config, chosen: list[str]) -> None:
    """Raise CheckpointError that names the first key in which ``given`` does not describe the detector of ``own``.

    chosen: settings ``key=value`` that may differ.
    """
    keys = tuple(text.partition("=")[0] for text in chosen)
    kept = ("data.beams",) if any(_is_below(key, ("data.beams",)) for key in keys) else ()  # a section or null
    before, now = (
        {key: v for key, v in flat(config).items() if not (_is_free(key) or _is_below(key, (*keys, *kept)))}
        for config in (own, given)
    )
    for key in [*before, *(key for key in now if key not in before)]:
        if before.get(key) != now.get(key):
            raise CheckpointError(
                f"{checkpoint}: was trained with {_text(key, before)}, but {_text(key, now)} was given;"
                f" leave {key} out, as the checkpoint contains it"
            )
    if list(before) != list(now):  # the anchors of a head for any class have the order of their names
        key = next(one for one, other in zip(before, now, strict=True) if one != other)
        raise CheckpointError(f"{checkpoint}: was trained with {key} elsewhere; keep the order of its section")


def other_points(own: Config, given: Config) -> list[tuple[str, Any, Any]]:
    """Key and both values of each setting of the data with which two detectors would see other points of a frame.

    Settings of files count only if both read the same ones; beams do not count.
    """
    same_files = own.data.root.resolve() == given.data.root.resolve()
    free = (*FREE, *CHOICES, *(() if same_files else OF_FILES))
    before, now = flat(own), flat(given)
    keys = [key for key in {**before, **now} if _is_below(key, ("data",)) and not _is_below(key, free)]
    found = [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]
    if own.data.point_features != given.data.point_features:
        found.append(("data.kind", own.data.kind, given.data.kind))
    if (own.data.intensity == NONE) != (given.data.intensity == NONE):
        found.append(("data.intensity", own.data.intensity, given.data.intensity))
    return found


def _is_free(key: str) -> bool:
    return _is_below(key, FREE) and not _is_below(key, CHOICES)


def _is_below(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _text(key: str, values: dict[str, Any]) -> str:
    return f"{key}={json.dumps(values[key])}" if key in values else f"no {key}"
