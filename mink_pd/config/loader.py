"""Reading a configuration: YAML files with inheritance (``base: other.yaml``) and ``key=value`` overrides."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mink_pd.config.root import DETECTORS, Config
from mink_pd.config.shipped import find_config
from mink_pd.errors import ConfigError


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML file, follow its ``base`` files, apply ``key=value`` overrides (dotted keys, YAML values).

    path: of the file, or the name of a shipped configuration, e.g. ``pointpillars_kitti``.
    Raises ConfigError naming the key, the file and the nearest valid key.
    """
    path = find_config(path)
    tree, origin = _read_tree(path, ())
    tree.setdefault("name", path.stem)
    for text in overrides or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"command line: '{text}' is not key=value; write for example train.epochs=10")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"command line: the value of '{key}' is not YAML: {value}") from None
        _set(tree, key, parsed)
        origin[key] = "command line"
    return validate(tree, origin, str(path))


def validate(tree: dict[str, Any], origin: dict[str, str], path: str) -> Config:
    """Check a tree of settings; ``origin`` says which file a dotted key came from."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, origin, path)) from None


def dump_config(config: Config) -> str:
    """The fully resolved configuration as YAML; ``load_config`` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_tree(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: 'base' comes back to the same file; remove the loop")
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a YAML file, as in configs/"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place else ""
        raise ConfigError(f"{path}: {line}not valid YAML; mend the file") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold keys and values, not a {type(tree).__name__}")
    base = tree.pop("base", None)
    origin = {key: str(path) for key in _leaves(tree)}
    if base is None:
        return tree, origin
    below: dict[str, Any] = {}
    below_origin: dict[str, str] = {}
    for file in base if isinstance(base, list) else [base]:  # a later file is laid over an earlier one
        more, more_origin = _read_tree(path.parent / file, (*seen, path.resolve()))
        below, below_origin = _merge(below, more), {**below_origin, **more_origin}
    return _merge(below, tree), {**below_origin, **origin}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both else value
    return result


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
    result = []
    for key, value in tree.items():
        result.append(f"{prefix}{key}")
        if isinstance(value, dict):
            result += _leaves(value, f"{prefix}{key}.")
    return result


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    tree[last] = value


def _explain(error: ValidationError, origin: dict[str, str], path: str) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    detector = "pointpillars"
    if location[:1] == ["model"] and set(location[1:2]) & set(DETECTORS):
        detector = location.pop(1)  # pydantic's word for which one it is; not a key
    if first["type"].startswith("union_tag"):
        location.append("name")
    key = ".".join(location)
    file = next(
        (origin[".".join(location[:n])] for n in range(len(location), 0, -1) if ".".join(location[:n]) in origin),
        path,
    )
    if first["type"] == "extra_forbidden":
        nearest = _nearest(key, detector)
        return f"{file}: unknown key '{key}'" + (
            f"; did you mean '{nearest}'?" if nearest else "; see mink_pd/config.py"
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"].startswith("union_tag"):
        message = f"must be one of {', '.join(DETECTORS)}"
    if not location:
        return f"{path}: {message}"
    shown = "" if first["type"] == "value_error" else f", got {first.get('ctx', {}).get('tag', first['input'])!r}"
    return f"{file}: '{key}': {message[0].lower()}{message[1:]}{shown}"


def _nearest(key: str, detector: str) -> str | None:
    keys = _leaves(Config.model_validate({"model": {"name": detector}}).model_dump())
    match = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    if match:
        return match[0]
    last = key.rsplit(".", 1)[-1]
    return next((k for k in keys if k.rsplit(".", 1)[-1] == last), None)
