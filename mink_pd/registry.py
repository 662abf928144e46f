"""Registries: implementations by name. The package registers its own, and a user's plugin adds more.

An entry is one file: a class with its ``Settings`` section (or a function), registered under its name. Nothing else
lists it. A plugin is a Python file outside the package that registers entries when it is imported.
"""

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mink_pd.errors import ConfigError

E = TypeVar("E")


class Registry(Mapping[str, Any]):
    """Entries by name. ``package`` holds the built-in ones. The lookup of a name imports the module of that name, if
    there is one; all modules are imported where that does not register it, and where entries are listed.

    key: the setting that chooses an entry, for messages.
    """

    def __init__(self, key: str, package: str) -> None:
        self.key, self.package = key, package
        self._entries: dict[str, Any] = {}
        self._built_in: frozenset[str] = frozenset()
        self._loaded = False

    def register(self, name: str) -> Callable[[E], E]:
        """Decorator that adds a class or function under ``name``. Raises ConfigError for a name that is taken."""

        def add(entry: E) -> E:
            if name in self._entries:
                raise ConfigError(f"{self.key}: '{name}' is registered already; give {entry!r} another name")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> Any:
        entries = self._with(name)
        if name not in entries:
            raise ConfigError(f"{self.key}: unknown name '{name}'; choose from {', '.join(sorted(entries))}")
        return entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._with(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))  # the order of registration depends on what was imported first

    def __len__(self) -> int:
        return len(self._all())

    @property
    def built_in(self) -> frozenset[str]:
        """The names that the package itself registers."""
        self._all()
        return self._built_in

    def _with(self, name: object) -> dict[str, Any]:
        """The entries, among which ``name`` is if there is one."""
        if isinstance(name, str) and name not in self._entries and not self._loaded:
            package = importlib.import_module(self.package)
            if name in (module.name for module in pkgutil.iter_modules(getattr(package, "__path__", ()))):
                importlib.import_module(f"{self.package}.{name}")
        return self._entries if name in self._entries else self._all()

    def _all(self) -> dict[str, Any]:
        if not self._loaded:
            self._loaded = True
            try:
                package = importlib.import_module(self.package)
                for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
                    importlib.import_module(f"{self.package}.{module.name}")
            except BaseException:
                self._loaded = False
                raise
            self._built_in = frozenset(
                name for name, entry in self._entries.items() if entry.__module__.startswith("mink_pd.")
            )
        return self._entries


DATASETS = Registry("data.kind", "mink_pd.data.datasets")
DETECTORS = Registry("model.name", "mink_pd.models.detectors")
METHODS = Registry("distill.methods", "mink_pd.distill.methods")
IMPORTANCES = Registry("importance", "mink_pd.distill.importance")
SCORERS = Registry("evaluate.scorer", "mink_pd.evaluate.scorers")


def load_plugin(path: Path) -> None:
    """Import a user's Python file once, so that it registers its entries.

    Raises ConfigError naming the file if it is missing or fails.
    """
    path = path.expanduser().resolve()
    name = f"mink_pd_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    if not path.is_file():
        raise ConfigError(f"{path}: no such plugin; 'plugins' lists Python files")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file; 'plugins' lists files that end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{path}: the plugin fails with {type(error).__name__}: {error}") from error
