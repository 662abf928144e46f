"""A plan as a commented configuration."""

import shlex
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from mink_pd.config import DataConfig
from mink_pd.config.models import AnchorConfig
from mink_pd.evaluate.rules import thresholds
from mink_pd.new_config.extent import ENOUGH
from mink_pd.new_config.plan import Plan
from mink_pd.registry import DATASETS

CLASS_COLUMNS = ("class", "objects", "per frame", "points", "no points", "in range", "positives", "l, w, h [m]")
_ROTATION = 0.78539816  # largest rotation of training frames in either direction [rad]
_WIDTH = 118  # characters per line
_READING = ("columns", "dtype", "intensity", "own_vehicle", "returns", "camera_view")  # settings for reading points


def yaml_text(plan: Plan, path: Path, warnings: list[str]) -> str:
    """The content of the configuration file. path: of that file, for the commands in its comments."""
    environment = Environment(
        loader=PackageLoader("mink_pd.new_config"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"yaml": _flow, "wrap": _comment, "one_line": _one_line}
    count = len(plan.classes)
    return environment.get_template("configuration.yaml").render(
        plan=plan,
        classes=f"{count} class{'es' if count > 1 else ''}",
        returns=f"{plan.found.returns.mean():,.0f}",
        file=shlex.quote(_one_line(path)),
        stem=shlex.quote(_one_line(path.stem)),
        warnings=warnings,
        own=_own_settings(plan.data),
        rows=_aligned([CLASS_COLUMNS, *class_rows(plan)]),
        others=[f"{name} ({number:,})" for name, number in plan.objects.most_common() if name not in plan.anchors],
        inside=float(np.mean(plan.extent.inside[np.isin(plan.found.names, plan.classes)])),
        enough=ENOUGH,
        cell=round(plan.affords.voxel[0] * plan.affords.cells, 2),
        where=_where(plan),
        rotation=_ROTATION if plan.extent.square else _ROTATION / 2,
        head={key: True for key in _head(plan)},
        shapes=_shape_lines(plan),
        steps=f"{plan.epochs * -(-plan.frames // plan.affords.batch_size):,}",
        validate_every=max(1, plan.epochs // 4),
        best_metric="NDS" if DATASETS[plan.data.kind].scorer == "nuscenes" else "mAP_3d",
        min_iou=thresholds(plan.classes),
    )


def class_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row with CLASS_COLUMNS for each class; points: the median number in an object."""
    rows: list[tuple[str, ...]] = []
    for name, anchors in plan.anchors.items():
        own = plan.found.of(name)
        size = np.median(plan.found.boxes[own, 3:6], axis=0)
        rows.append((
            name,
            f"{plan.objects[name]:,}",
            f"{plan.per_frame(name):.2f}",
            f"{np.median(plan.found.inside[own]):.0f}",
            f"{np.mean(plan.found.inside[own] == 0):.0%}",
            f"{np.mean(plan.extent.inside[own]):.0%}",
            f"{anchors.positives:.0%}",
            " ".join(f"{edge:.2f}" for edge in size),
        ))  # fmt: skip
    return rows


def _own_settings(data: DataConfig) -> dict[str, Any]:
    """Non-default settings that only this kind of data set has, and those for reading its points.

    The latter are left out for a folder of clouds, whose dataset.yaml has them.
    """
    default = type(data).model_fields
    keys = [key for key in default if key not in (*DataConfig.model_fields, "kind")]
    keys += [] if data.kind == "clouds" else _READING
    values = data.model_dump(mode="json", include=set(keys))
    return {key: values[key] for key in keys if getattr(data, key) != default[key].get_default()}


def _head(plan: Plan) -> list[str]:
    """Settings of the head to switch on."""
    return ["any_class"] * plan.any_class + ["velocity"] * plan.data.has_velocities


def _where(plan: Plan) -> str:
    """The reason for the range's reach backwards, as a sentence."""
    if plan.extent.all_around:
        return "Objects lie all around: as far backwards as forwards."
    return "Objects lie ahead." if plan.extent.bounds[0] == 0 else "Objects lie less far behind than ahead."


def _shape_lines(plan: Plan) -> list[str]:
    """A line for each anchor: its name, its settings and, as a comment, the shares of objects."""
    lines = []
    for name, one in plan.anchors.items():
        several = len(one.shapes) > 1
        for number, (shape, share) in enumerate(zip(one.shapes, one.members, strict=True), start=1):
            of_class = f"; {share:.0%} of {name} have this shape" if several else ""
            entry = f"{_flow({f'{name}_{number}' if several else name: _settings(shape)})[1:-1]}"
            lines.append(f"{entry}  # {one.positives:.0%}{_one_line(of_class)}")
    return lines


def _settings(shape: AnchorConfig) -> dict[str, Any]:
    values = shape.model_dump(mode="json")
    return values | {"size": list(values["size"])}


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a text table, the first column aligned to the left, the others to the right."""
    rows = [tuple(_one_line(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _flow(value: Any) -> str:
    """YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)[1:-2]


def _one_line(text: object) -> str:
    """Text for a comment: printable, without line breaks."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(_one_line(text), _WIDTH, initial_indent="# ", subsequent_indent="#   "))
