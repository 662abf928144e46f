"""What every section of the configuration is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


Vector3 = tuple[float, float, float]
Range = tuple[float, float, float, float, float, float]  # x, y, z from, x, y, z to [m]
