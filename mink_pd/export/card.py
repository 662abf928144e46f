"""``model.yaml``: every number that a program needs to run an exported detector."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from mink_pd.config.points import X_FORWARD
from mink_pd.config.section import Range, Section, Vector3
from mink_pd.config.settings_yaml import plain, read_yaml
from mink_pd.errors import ConfigError, DataError
from mink_pd.files import check_regular, read_bytes, write_text

CARD = "model.yaml"
Target = Literal["onnx", "openvino", "autoware", "cuda-pointpillars"]
Runtime = Literal["onnxruntime", "openvino"]


class Graph(Section):
    """A file with a network."""

    file: str
    inputs: dict[str, list[int | str]]  # name -> shape, in the graph's order; a text is a dimension of any size
    outputs: dict[str, list[int | str]]  # the same


class Pillars(Section):
    """How points become the first graph's input (rows, slots, features).

    overflow: what happens to a pillar with more points than slots. ``drop`` keeps the first points of the file;
    ``rows`` gives the pillar several rows, of which the scatter keeps the maximum. features: of a point, in order; the
    mean is over the points of the pillar that are kept, and the centre is that of the pillar.
    """

    slots: int  # number of points per row
    overflow: Literal["drop", "rows"]
    most: int | None  # number of rows of a static graph; None: any
    features: list[str]
    empty_slots: bool  # whether slots of zeros take part in the maximum


class Cloud(Section):
    """How point cloud files are read."""

    columns: list[str]  # of a point in a .bin file
    dtype: str | list[str]  # of these columns
    intensity: float | str  # full scale, by which intensities are divided; by_type: floats are 0..1; none: it is 0
    axes: str | list[list[float]] = X_FORWARD  # of the files, which are turned to x forward; or a 4x4 matrix
    own_vehicle: Range | None = None  # box (x, y, z from, x, y, z to [m], LiDAR frame) whose points are left out


class Anchor(Section):
    """One of the anchors of every cell, before it is scaled.

    A level of the head multiplies l, w and h by its factor s of ``head.scales`` and raises z by (s - 1) * h / 2, so
    that the anchor keeps its bottom.
    """

    name: str
    size: Vector3  # l, w, h [m]
    z: float  # height of its centre [m]
    yaw: float  # [rad]


class Card(Section):
    """The content of ``model.yaml``. The networks take intensities from 0 to 1."""

    format: Literal["mink_pd export 1"] = "mink_pd export 1"
    target: Target
    precision: Literal["float32", "int8"]
    detector: str
    bev: Literal["sparse", "dense"]
    run: str
    checkpoint_sha256: str
    versions: dict[str, str]
    opset: int
    range: Range
    voxel_size: Vector3
    grid: tuple[int, int]  # cells along x and y of the canvas, whose layout in memory is (1, channels, y, x)
    point_features: list[str]
    cloud: Cloud  # how the detector's clouds were read
    camera_view: bool
    pillars: Pillars | None
    channels: int
    mark: float  # value in channel 0 of a site of a sparse detector's canvas whose features are all 0
    strides: list[int]  # of the head's levels, in cells of the canvas
    classes: list[str]
    anchors: list[Anchor]
    tasks: list[list[str]] | None
    head: dict[str, Any]
    empty_logit: float  # class logit of cells where a sparse detector predicts nothing
    nms: dict[str, Any]
    graphs: dict[str, Graph]
    config: dict[str, Any]  # the detector's own settings (data, model), from which this package rebuilds it
    files: dict[str, str] = Field(default_factory=dict)  # name -> sha256, of all other files of the folder


def write_card(folder: Path, card: Card) -> None:
    """Write ``model.yaml`` with the checksums of all other files of ``folder``."""
    card.files = {file.name: digest(file) for file in sorted(folder.iterdir()) if file.name != CARD}
    write_text(folder / CARD, plain_yaml(card.model_dump(mode="json")))


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain_yaml(tree: dict[str, Any]) -> str:
    """YAML without anchors and aliases, which small parsers such as that of ROS do not support."""
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, default_flow_style=None, width=100)


def read_card(folder: Path) -> Card:
    """The card of an export folder.

    Raises DataError if the folder has no valid card, or if a file is missing or has changed since the export.
    """
    path = folder / CARD
    check_regular(path, DataError, "give a folder that export has written")
    try:
        card = Card.model_validate(plain(read_yaml(path)))
    except ConfigError as error:
        raise DataError(f"{str(error).rpartition(';')[0]}; export again") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {key}: {first['msg'].lower()}; export again") from None
    for name, wanted in card.files.items():
        file = folder / name
        if not file.is_file():
            raise DataError(f"{file}: is missing; export again, or copy the whole folder")
        if digest(file) != wanted:
            raise DataError(f"{file}: has changed since the export (its checksum is not that of {CARD}); export again")
    return card


def is_export(path: Path) -> bool:
    """Whether a path is an export folder."""
    return (path / CARD).is_file()


def holds_graphs(path: Path) -> bool:
    """Whether a path is a folder with graphs: an export, or one whose card is missing."""
    return path.is_dir() and any(file.suffix in (".onnx", ".xml") for file in path.iterdir())


def digest(file: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(read_bytes(file)).hexdigest()
