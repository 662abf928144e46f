"""The configurations that are shipped with the package, found by name."""

import difflib
from pathlib import Path

from mink_pd.errors import ConfigError

# A wheel holds a copy of configs/ inside the package (tools/wheel.py); a checkout has the folder beside it.
_INSTALLED, _CHECKOUT = Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def find_config(name: str | Path, kind: str = "") -> Path:
    """The file at the path ``name``, or the shipped configuration of that name, with or without ``.yaml``.

    kind: folder below configs/ in which names are looked up, e.g. ``experiments``.
    Raises ConfigError listing the nearest names.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():  # the current folder may contain a folder called demo
        return path
    folder = CONFIGS / kind
    if not path.is_absolute() and ".." not in path.parts:
        shipped = folder / path.with_suffix(".yaml")
        if shipped.is_file():
            return shipped
    names = shipped_names(kind)
    near = difflib.get_close_matches(str(path.with_suffix("")), names, n=3, cutoff=0.5)
    near += [other for other in names if Path(other).stem == path.stem and other not in near]
    advice = f"did you mean {' or '.join(near)}?" if near else f"the names are {', '.join(names)}"
    raise ConfigError(f"{name}: no file of this path and no shipped configuration of this name; {advice}")


def shipped_names(kind: str = "") -> list[str]:
    """Names that :func:`find_config` knows, e.g. ``published/mmdet3d_second``; not those of parts and sensors."""
    folder = CONFIGS / kind
    own = () if kind else ("experiments", "parts", "sensors")
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(str(path) for path in paths if path.parts[0] not in own)
