"""What every section of the configuration is."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


def _expand(path: Path) -> Path:
    """``~`` is the user's home, as in a shell. Raises ValueError for a user without one."""
    if "\0" in str(path):
        raise ValueError("a path has no zero byte")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"no home folder is known for {path}; write the whole path") from None


Folder = Annotated[Path, AfterValidator(_expand)]
Vector3 = tuple[float, float, float]
Range = tuple[float, float, float, float, float, float]  # x, y, z from, x, y, z to [m]
