"""``model.yaml``: every number that a program needs to run an exported detector."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from mink_pd.config.section import Range, Section, Vector3
from mink_pd.config.settings_yaml import plain, read_yaml
from mink_pd.errors import ConfigError, DataError
from mink_pd.files import check_regular, read_bytes, write_text

CARD = "model.yaml"
Target = Literal["onnx", "openvino", "autoware", "cuda-pointpillars"]
Runtime = Literal["onnxruntime", "openvino"]


class Graph(Section):
    """A file with a network. inputs, outputs: name -> shape, in the order of the graph; a text stands for a dimension
    that may have any size."""

    file: str
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]


class Pillars(Section):
    """How points become the first graph's input (rows, slots, features).

    slots: points a row holds. overflow: of a pillar with more points: the first ones in the file count (``drop``), or
    it takes several rows, of which the scatter keeps the maximum (``rows``). most: rows of the static graph, None: any.
    features: of a point, in order; the mean is that of the pillar's points that count, the centre that of the pillar.
    """

    slots: int
    overflow: Literal["drop", "rows"]
    most: int | None
    features: list[str]
    empty_slots: bool  # slots of zeros take part in the maximum


class Cloud(Section):
    """How point cloud files are read. columns, dtype: of a point of a .bin file. intensity: its full scale, by which it
    is divided; by_type: floats are 0..1; none: 0 stands for it."""

    columns: list[str]
    dtype: str | list[str]
    intensity: float | str


class Anchor(Section):
    """One of the anchors of every cell. size: l, w, h [m]; z: height of its centre [m]; yaw [rad]."""

    name: str
    size: Vector3
    z: float
    yaw: float


class Card(Section):
    """The content of ``model.yaml``.

    grid: cells along x and y of the canvas, whose memory is (1, channels, y, x); strides: of the head's levels, in
    cells of the canvas; mark: what a sparse detector's canvas has in channel 0 of a site whose features are all 0;
    empty_logit: the class logit of cells where it predicts nothing; cloud: how its clouds were read. The networks see
    intensities from 0 to 1.
    """

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
    grid: tuple[int, int]
    point_features: list[str]
    cloud: Cloud
    camera_view: bool
    pillars: Pillars | None
    channels: int
    mark: float
    strides: list[int]
    classes: list[str]
    anchors: list[Anchor]
    tasks: list[list[str]] | None
    head: dict[str, Any]
    empty_logit: float
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
    """YAML without anchors and aliases, which small parsers such as that of ROS do not know."""
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, default_flow_style=None, width=100)


def read_card(folder: Path) -> Card:
    """The card of an export folder.

    Raises DataError if it is none, or if a file is missing or has changed since the export.
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
