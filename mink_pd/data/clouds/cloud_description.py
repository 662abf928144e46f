"""dataset.yaml of a folder of clouds, which describes what the files do not state."""

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mink_pd.config.loader import make_section
from mink_pd.config.points import PointsConfig
from mink_pd.config.settings_yaml import read_yaml
from mink_pd.errors import ConfigError, DataError

DESCRIPTION = "dataset.yaml"
_MEANING = {
    "intensity": "write the sensor's full scale (1, 255, 65535, ...), or none",
    "axes": "write x_forward (y left, z up), y_forward (x right), or a 4x4 matrix to x_forward",
    "classes": "write the names of the classes, such as [Car, Truck], or class: [names in the labels]",
}


class DatasetFile(PointsConfig):
    """The keys of dataset.yaml.

    intensity, axes: as in PointsConfig, but required; axes are those of points and labels.
    yaw: the unit of the labels' yaw.
    sensor_height: height of the sensor above the ground [m], for the record; anchors follow the labels.
    classes: names, or class -> the names that labels use for it.
    ignore: names of labels to leave out.
    """

    intensity: float | str
    axes: Literal["x_forward", "y_forward"] | list[list[float]]
    yaw: Literal["radians", "degrees"] = "radians"
    sensor_height: float | None = Field(None, gt=0)
    classes: dict[str, list[str]]
    ignore: list[str] = Field(default_factory=list)

    @field_validator("classes", mode="before")
    @classmethod
    def _aliases(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {_name(name): [] for name in value}
        if isinstance(value, dict):
            return {
                name: [] if one is None else [_name(each) for each in (one if isinstance(one, list) else [one])]
                for name, one in value.items()
            }
        return value

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> "DatasetFile":
        names = [name.lower() for name in self.ignore]
        for name, aliases in self.classes.items():
            names += {name.lower(), *(alias.lower() for alias in aliases)}
        twice = next((name for n, name in enumerate(names) if name in names[:n]), None)
        if not self.classes or twice is not None:
            raise ValueError(f"classes: '{twice}' stands for two things" if twice else "classes: name at least one")
        return self

    @property
    def names(self) -> dict[str, str | None]:
        """Class by the name in a label in lower case; None for a name to leave out."""
        names: dict[str, str | None] = {name.lower(): None for name in self.ignore}
        for name, aliases in self.classes.items():
            names |= dict.fromkeys([name.lower(), *(alias.lower() for alias in aliases)], name)
        return names


def _name(value: Any) -> str:
    """A class name, which may be a whole number. Raises ValueError for what YAML reads as anything else."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    text = "" if isinstance(value, dict | list) else f"; {value!r} is none (quote text that YAML reads otherwise)"
    raise ValueError(f"must be names, such as [Car, Truck], or class: [names in the labels]{text}")


def read_description(root: Path) -> DatasetFile:
    """A folder's dataset.yaml. Raises DataError that names file and key."""
    path = root / DESCRIPTION
    try:
        return make_section(DatasetFile, read_yaml(path) or {})
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key also lacks one
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, DatasetFile.model_fields, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"the keys are {', '.join(DatasetFile.model_fields)}"
            raise DataError(f"{path}: unknown key '{key}'; {hint}") from None
        if first["type"] == "missing":
            raise DataError(f"{path}: lacks '{key}'; {_MEANING.get(key, 'add it')}") from None
        raise DataError(f"{path}: '{key}': {first['msg'].removeprefix('Value error, ')}") from None
    except ConfigError as error:
        raise DataError(str(error)) from None
