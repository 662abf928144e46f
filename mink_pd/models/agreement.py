"""A checkpoint knows the configuration of its detector. What contradicts it is an error that names the key."""

import json
from pathlib import Path
from typing import Any

from mink_pd.config import Config, flat, load_config, override
from mink_pd.errors import CheckpointError
from mink_pd.models.checkpoint import read_config

# What a trained detector's output on a frame does not depend on; everything else must be as it was in training.
FREE = (
    "name",
    "runs",
    "seed",
    "plugins",
    "train",
    "distill",
    "data.root",
    "data.version",
    "data.train_split",
    "data.val_split",
    "data.max_frames",
    "data.class_balanced",
    "data.workers",
    "data.cache_mb",
    "data.augment",
)
DECODING = "model.nms"  # may be set on the command line, key by key


def evaluated_config(checkpoint: Path, given: str | Path | None, overrides: list[str]) -> tuple[Config, list[str]]:
    """The configuration to evaluate the detector in ``checkpoint`` (a file) with, and what was set for its decoding.

    given: a configuration for everything that the detector does not depend on; None: that of the checkpoint. Settings
    of ``model.nms`` may be overridden; each is returned as ``key=value``.
    Raises CheckpointError naming the first key that contradicts the checkpoint, and ConfigError.
    """
    own = read_config(checkpoint)
    decoding = [text for text in overrides if text.startswith(f"{DECODING}.")]
    if given is None:
        return check_agrees(checkpoint, own, override(own, overrides), decoding), decoding
    return check_agrees(checkpoint, own, load_config(given, overrides), decoding), decoding


def check_agrees(checkpoint: Path, own: Config, given: Config, decoding: list[str]) -> Config:
    """``given`` if it describes the detector of ``own``. Raises CheckpointError naming the first key that differs.

    decoding: the settings of ``model.nms``, as ``key=value``, that may differ.
    """
    chosen = {text.partition("=")[0] for text in decoding}
    before, now = ({key: v for key, v in flat(config).items() if not _is_free(key)} for config in (own, given))
    for key in [*before, *(key for key in now if key not in before)]:
        if before.get(key) != now.get(key) and key not in chosen:
            raise CheckpointError(
                f"{checkpoint}: was trained with {_text(key, before)}, and {_text(key, now)} was given;"
                f" leave {key} out, the checkpoint knows it"
            )
    if list(before) != list(now):  # anchors of a head for any class follow the order of their names
        key = next(one for one, other in zip(before, now, strict=True) if one != other)
        raise CheckpointError(f"{checkpoint}: was trained with {key} in another place; keep the order of its section")
    return given


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _text(key: str, values: dict[str, Any]) -> str:
    return f"{key}={json.dumps(values[key])}" if key in values else f"no {key}"
