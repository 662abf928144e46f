"""Reading a configuration: YAML files with inheritance (``base: other.yaml``) and ``key=value`` overrides."""

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mink_pd.config.root import Config, choose_data, choose_model
from mink_pd.config.settings_yaml import Scalar, parse_value, plain, read_yaml
from mink_pd.config.shipped import find_config
from mink_pd.errors import ConfigError
from mink_pd.registry import load_plugin

S = TypeVar("S", bound=BaseModel)
FILES = 100  # that one configuration may consist of


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML file, follow its ``base`` files, apply ``key=value`` overrides (dotted keys, YAML values).

    path: of the file, or the name of a shipped configuration, e.g. ``pointpillars_kitti``.
    Raises ConfigError naming the key, the file and the nearest valid key.
    """
    path = find_config(Path(path).expanduser())
    tree, origin = _read_tree(path, (), [FILES])
    tree.setdefault("name", path.stem)
    return apply(tree, origin, overrides or [], str(path))


def override(config: Config, overrides: list[str]) -> Config:
    """A copy of a configuration with ``key=value`` overrides; no plugin is run. Raises ConfigError."""
    return apply(config.model_dump(mode="json"), {}, overrides, "command line", load_plugins=False)


def apply(
    tree: dict[str, Any], origin: dict[str, str], overrides: list[str], path: str, load_plugins: bool = True
) -> Config:
    """The configuration of a tree of settings with ``key=value`` overrides. Raises ConfigError naming the key."""
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"command line: '{text}' is not key=value; write for example train.epochs=10")
        try:
            parsed = parse_value(value)
        except yaml.YAMLError as error:
            what = " ".join((getattr(error, "problem", None) or str(error)).split())
            raise ConfigError(f"command line: the value of '{key}' is not YAML ({what}): {value}") from None
        _set(tree, key, parsed)
        origin[key] = "command line"
    return validate(tree, origin, path, load_plugins)


def assignment(key: str, value: str | Path) -> str:
    """``key=value`` for a text value with any characters."""
    return f"{key}={json.dumps(str(value), ensure_ascii=False)}"


def validate(tree: dict[str, Any], origin: dict[str, str], path: str, load_plugins: bool = True) -> Config:
    """Check a tree of settings; ``origin`` maps a dotted key to the file that sets it.

    load_plugins: run the Python files that ``plugins`` lists; never for a tree from a data file such as a
    checkpoint. Raises ConfigError.
    """
    plugins = plain(tree.get("plugins", []))
    if load_plugins and plugins and isinstance(plugins, list) and all(isinstance(plugin, str) for plugin in plugins):
        below = Path(origin.get("plugins", path)).parent  # a plugin path is relative to the file that names it
        tree = tree | {"plugins": [str(below / Path(plugin).expanduser()) for plugin in plugins]}
        for plugin in tree["plugins"]:
            load_plugin(Path(plugin))
    try:
        return make_section(Config, tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, tree, origin, path)) from None


def make_section(kind: type[S], tree: Any) -> S:
    """A section of a tree from :func:`read_yaml`; text fields keep the text as written: ``name: 0123``.

    Raises pydantic's ValidationError.
    """
    values = plain(tree)
    while True:
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            if not _take_texts(error, tree, values):
                raise


def _take_texts(error: ValidationError, tree: Any, values: Any) -> bool:
    """Replace values of text fields by the text as written. Returns whether there was such a field."""
    found = False
    for one in error.errors():
        if one["type"] not in ("string_type", "path_type"):
            continue
        branch, holder, last = tree, values, None
        for part in one["loc"]:
            if isinstance(branch, dict) and part not in branch:
                continue  # pydantic's tag of the detector
            if not isinstance(branch, dict | list):
                break
            if last is not None:
                holder = holder[last]
            branch, last = branch[part], part  # type: ignore[index]
        if isinstance(branch, Scalar) and branch.text not in ("", "null") and last is not None:
            found |= holder[last] != branch.text or type(holder[last]) is not str
            holder[last] = branch.text
    return found


def dump_config(config: Config) -> str:
    """The fully resolved configuration as YAML; ``load_config`` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def flat(config: Config) -> dict[str, Any]:
    """Dotted key -> value; lists are not flattened."""

    def walk(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in tree.items():
            result |= walk(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return result

    return walk(config.model_dump(mode="json"), "")


def _read_tree(path: Path, seen: tuple[Path, ...], left: list[int]) -> tuple[dict[str, Any], dict[str, str]]:
    """A file's tree merged over the trees of its bases; ``left`` counts how many more files may be read."""
    if path.resolve() in seen:
        raise ConfigError(f"{path}: 'base' comes back to the same file; remove the loop")
    left[0] -= 1
    if left[0] < 0:
        raise ConfigError(f"{path}: 'base' names more than {FILES} files in all; remove some")
    tree = read_yaml(path) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold keys and values, not {_kind(tree)}")
    base = plain(tree.pop("base", None))
    origin = {key: str(path) for key in _leaves(tree)}
    files = [] if base is None else base if isinstance(base, list) else [base]
    below: dict[str, Any] = {}
    below_origin: dict[str, str] = {}
    for file in files:  # a later file overrides an earlier one
        if not isinstance(file, str) or not file or "\0" in file:
            raise ConfigError(f"{path}: 'base' must be the path of a YAML file or a list of them, got {file!r}")
        more, more_origin = _read_tree(path.parent / Path(file).expanduser(), (*seen, path.resolve()), left)
        below, below_origin = _merge(below, more), {**below_origin, **more_origin}
    return _merge(below, tree), {**below_origin, **origin}


def _kind(tree: Any) -> str:
    return "a list" if isinstance(tree, list) else f"the single value {tree.text!r}"


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


def _explain(error: ValidationError, tree: dict[str, Any], origin: dict[str, str], path: str) -> str:
    """One line: the file that sets a key, the key, and what is wrong."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    file = next(
        (origin[".".join(location[:n])] for n in range(len(location), 0, -1) if ".".join(location[:n]) in origin),
        path,
    )
    if first["type"] == "extra_forbidden":
        nearest = _nearest(key, plain(tree))
        hint = f"did you mean '{nearest}'?" if nearest else "see mink_pd/config"
        return f"{file}: unknown key '{key}'; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    if not location:
        return f"{path}: {message}"
    shown = "" if first["type"] == "value_error" else f", got {first['input']!r}"
    return f"{file}: '{key}': {message[0].lower()}{message[1:]}{shown}"


def _nearest(key: str, tree: dict[str, Any]) -> str | None:
    """The valid key with the spelling nearest to ``key``, for the data set and detector that the tree names."""
    chosen = {}
    for section, name in (("data", "kind"), ("model", "name")):
        given = tree.get(section)
        chosen[section] = {name: given[name]} if isinstance(given, dict) and name in given else {}
    keys = _leaves(
        Config.model_construct(data=choose_data(chosen["data"]), model=choose_model(chosen["model"])).model_dump()
    )
    match = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    if match:
        return match[0]
    last = key.rsplit(".", 1)[-1]
    return next((k for k in keys if k.rsplit(".", 1)[-1] == last), None)
