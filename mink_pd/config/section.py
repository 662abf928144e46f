"""The base class of all configuration sections, and the choice of a section by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from mink_pd.registry import Registry


class Section(BaseModel):
    """A part of the configuration: unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


def check_span(value: tuple[float, float]) -> tuple[float, float]:
    """A pair from, to. Raises ValueError if the first is above the second."""
    if value[0] > value[1]:
        raise ValueError(f"must be from, to, the first not above the second, not {list(value)}")
    return value


def _ascending(value: tuple[float, ...]) -> tuple[float, ...]:
    if not all(low < high for low, high in zip(value[:3], value[3:], strict=True)):
        raise ValueError(
            f"must be x, y, z from, then x, y, z to, each lower bound below its upper one, not {list(value)}"
        )
    return value


def _expand(path: Path) -> Path:
    """``~`` is the user's home, as in a shell. Raises ValueError for a user without one."""
    if "\0" in str(path):
        raise ValueError("a path has no zero byte")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"no home folder is known for {path}; write the whole path") from None


Folder = Annotated[Path, AfterValidator(_expand)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Span = Annotated[tuple[float, float], AfterValidator(check_span)]  # from, to; they may be equal
Vector3 = tuple[float, float, float]
Size3 = tuple[Positive, Positive, Positive]
Range = Annotated[tuple[float, float, float, float, float, float], AfterValidator(_ascending)]  # from, then to [m]


def section_of(registry: Registry, key: str, default: str) -> Callable[[Any], Any]:
    """A validator that turns a mapping into the ``Settings`` of the registry's entry which its ``key`` names.

    Settings that exist already pass. A mapping without the key describes ``default``.
    """

    def choose(value: Any) -> Any:
        if isinstance(value, Section):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"must hold keys and values, got {value!r}")
        name = value.get(key, default)
        if not isinstance(name, str) or name not in registry:
            text = f"must be one of {', '.join(registry)}, got {name!r}"
            unknown = PydanticCustomError("value_error", "{text}", {"text": text})
            raise ValidationError.from_exception_data("Settings", [{"type": unknown, "loc": (key,), "input": name}])
        return registry[name].Settings.model_validate({key: name, **value})

    return choose
