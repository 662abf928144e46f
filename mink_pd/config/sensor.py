"""Settings of a simulated spinning LiDAR."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from mink_pd.config.section import Section
from mink_pd.config.settings_yaml import plain, read_yaml
from mink_pd.config.shipped import find_config
from mink_pd.errors import ConfigError

Elevation = Annotated[float, Field(gt=-90, lt=90)]  # [degrees]
Length = Annotated[float, Field(gt=0)]  # [m]
SENSORS = "sensors"  # folder below configs/


class Beams(Section):
    """A block of lasers: ``angles``, or ``count`` of them evenly from one angle to the other [degrees, up positive].

    above: height of these lasers over the origin of the LiDAR frame [m].
    """

    angles: list[Elevation] | None = Field(None, min_length=1)
    count: int | None = Field(None, ge=1, le=4096)
    first: Elevation | None = Field(None, alias="from")
    last: Elevation | None = Field(None, alias="to")
    above: float = 0.0

    @model_validator(mode="after")
    def _listed_or_counted(self) -> "Beams":
        counted = (self.count, self.first, self.last)
        if (self.angles is None) == (counted == (None, None, None)) or (self.angles is None and None in counted):
            raise ValueError("give either angles: [...], or count, from and to")
        return self

    def elevations(self) -> np.ndarray:
        """(L,) [degrees]"""
        if self.angles is not None:
            return np.array(self.angles, np.float64)
        assert self.first is not None
        assert self.last is not None
        assert self.count is not None
        return np.linspace(self.first, self.last, self.count)


class SensorConfig(Section):
    """height: of the LiDAR frame's origin above the ground [m]. range: of a strong echo [m]. azimuth_step: between two
    firings [degrees]. rate: revolutions per second. range_noise: standard deviation of a range [m]."""

    beams: list[Beams] = Field(min_length=1)
    height: Length
    range: Length
    azimuth_step: float = Field(gt=0.005, le=10)
    rate: float = Field(10.0, gt=0, le=1000)
    range_noise: float = Field(0.02, ge=0)

    def elevations(self) -> np.ndarray:
        """(L,) elevation of each beam [rad], in the order of the file."""
        return np.radians(np.concatenate([block.elevations() for block in self.beams]))

    def origins(self) -> np.ndarray:
        """(L,) height of each beam's laser above the origin of the LiDAR frame [m]."""
        return np.concatenate([np.full(len(block.elevations()), block.above) for block in self.beams])


def load_sensor(name: str | Path) -> SensorConfig:
    """The sensor of a YAML file, or of a file in configs/sensors, such as hdl64e. Raises ConfigError naming it."""
    path = find_config(name, SENSORS)
    values: Any = plain(read_yaml(path))
    try:
        return SensorConfig.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key also lacks one
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path}: '{key}': {first['msg'].removeprefix('Value error, ')}") from None
