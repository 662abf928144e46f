"""YAML of settings: bounded in size, no dates, no duplicate keys, and the text of every scalar is kept."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mink_pd.errors import ConfigError
from mink_pd.files import read_text

BYTES = 200_000  # of a file
NODES = 20_000  # of a file; an alias counts each time it is used
DEPTH = 30

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("null", "bool", "int", "float", "str")}


@dataclass(frozen=True)
class Scalar:
    """A value and its text as written: ``0123`` is a number, but may also be the name of a run."""

    value: Any
    text: str


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without dates, and without octal, hexadecimal and sexagesimal numbers."""


_IMPLICIT = {
    "float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    "int": r"[-+]?(?:0|[1-9][0-9_]*)",
}
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in pairs if tag not in [_TAG + name for name in ("timestamp", "float", "int")]
    ]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern in _IMPLICIT.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list("-+.0123456789"))


class _ValueLoader(_Loader):
    """YAML on a command line, where ``#`` is refused: YAML would silently drop what follows it as a comment."""

    def scan_to_next_token(self) -> None:
        while self.peek() == " ":
            self.forward()
        if self.peek() == "#":
            raise yaml.YAMLError("' #' begins a comment; quote the text")
        super().scan_to_next_token()


def read_yaml(path: Path) -> Any:
    """The tree in a YAML file: dicts with text keys, lists, and :class:`Scalar`; None if the file is empty.

    Raises ConfigError naming file and line: not YAML, too large (also by aliases), a key twice, a tag.
    """
    text = read_text(path, ConfigError, "give the path of a YAML file, as in configs/", BYTES)
    try:
        return _parse(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}: {line}not valid YAML ({' '.join(what.split())}); correct the file") from None


def parse_value(text: str) -> Any:
    """The value of ``key=value``: a list, mapping or quoted text in YAML's flow style, else one scalar, taken whole.

    Raises yaml.YAMLError.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return _parse(text, _ValueLoader)
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    return _scalar(yaml.ScalarNode(tag, text), loader)


def plain(tree: Any) -> Any:
    """The tree with values in place of scalars."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return tree.value if isinstance(tree, Scalar) else tree


def _parse(text: str, kind: type[_Loader]) -> Any:
    try:
        loader = kind(text)  # refuses characters that YAML does not allow
        node = loader.get_single_node()
        return None if node is None else _Builder(loader).build(node)
    except RecursionError:
        raise yaml.YAMLError(f"nested more than {DEPTH} levels deep") from None
    except (ValueError, OverflowError) as error:  # of numbers
        raise yaml.YAMLError(str(error)) from None


class _Builder:
    """Builds a tree from nodes. An alias is built again at each use, so that NODES bounds work and memory."""

    def __init__(self, loader: _Loader) -> None:
        self.loader, self.left = loader, NODES

    def build(self, node: yaml.Node, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0:
            raise yaml.MarkedYAMLError(problem=f"more than {NODES:,} values", problem_mark=node.start_mark)
        if depth > DEPTH:
            text = f"nested more than {DEPTH} levels deep, or within itself"
            raise yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return _scalar(node, self.loader)
        raise yaml.MarkedYAMLError(problem=f"tag {node.tag.removeprefix(_TAG)}", problem_mark=node.start_mark)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            built = self.build(value, depth + 1)
            if key.tag == _TAG + "merge":
                for other in reversed(built if isinstance(built, list) else [built]):
                    if not isinstance(other, dict):
                        raise yaml.MarkedYAMLError(problem="'<<' takes a mapping", problem_mark=key.start_mark)
                    merged |= other
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in own:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' stands here twice", problem_mark=key.start_mark)
            own[key.value] = built
        return merged | own


def _scalar(node: yaml.ScalarNode, loader: _Loader) -> Scalar:
    return Scalar(loader.construct_object(node), node.value)
