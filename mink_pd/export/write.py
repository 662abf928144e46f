"""Export of a trained detector: graphs, ``model.yaml`` and the proof that they compute what the detector computes."""

import io
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

import mink_pd
from mink_pd.config import Config
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.detect.clouds import Frames
from mink_pd.errors import ConfigError
from mink_pd.export.anchor_head import EMPTY_LOGIT
from mink_pd.export.card import Anchor, Card, Graph, Pillars, Target, digest, write_card
from mink_pd.export.cuda_pointpillars import CudaPointPillars
from mink_pd.export.detector import WEIGHTS
from mink_pd.export.graph import check_opset, require, shapes
from mink_pd.export.network import MARK
from mink_pd.export.networks import Networks, OpenVinoNetworks, Settings
from mink_pd.export.verify import Report, verify
from mink_pd.files import replacing_folder, write_text
from mink_pd.models import Detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.pillars import PillarFeatureNet
from mink_pd.sparse.voxels import grid_shape

TARGETS: dict[Target, type[Networks]] = {
    "onnx": Networks,
    "openvino": OpenVinoNetworks,
    "cuda-pointpillars": CudaPointPillars,
}
TABLE = "verification.txt"


@dataclass(frozen=True)
class Source:
    """Where a detector comes from: its weights file, and the run's name."""

    weights: Path
    run: str


def export(
    detector: Detector, source: Source, settings: Settings, frames: Frames, out: Path, console: Console
) -> Report:
    """Write the folder ``out`` after comparing on ``frames``, and print the comparison.

    Raises ConfigError for a detector or settings that cannot be exported, ExportError if anything differs from the
    detector; nothing is written then.
    """
    check_exportable(detector, settings)
    assert isinstance(detector, AnchorDetector)
    networks = TARGETS[settings.target](detector.eval(), settings)
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(out) as folder:
        everything = Path(scratch) / "everything.onnx"
        networks.write(folder, everything)
        candidates = networks.candidates(folder, everything)
        networks.finish(folder)
        if networks.encoder is None:
            (folder / WEIGHTS).write_bytes(source.weights.read_bytes())
        card = describe(networks, source, settings, folder)
        write_card(folder, card)
        report = verify(detector, candidates | networks.saved(folder), frames)
        console.print(report.table())
        report.check(str(out))
        write_table(folder / TABLE, report)
        write_card(folder, card)
    return report


def write_table(path: Path, report: Report) -> None:
    """Keep the comparison as text."""
    console = Console(width=160, file=io.StringIO())
    with console.capture() as text:
        console.print(report.table())
    write_text(path, text.get())


def check_exportable(detector: Detector, settings: Settings) -> None:
    """Raise ConfigError for a detector or settings of which no graph can be made."""
    config = detector.config
    if not isinstance(detector, AnchorDetector):
        raise ConfigError(f"model.name {config.model.name}: has no dense equivalent; export pointpillars or second")
    TARGETS[settings.target].check(config)
    if settings.opset is not None:
        check_opset(settings.opset)
    for package in ("onnx", "onnxruntime", "openvino"):
        require(package)
    pillars = isinstance(detector.encoder, PillarFeatureNet)
    if (settings.most or settings.slots) and not pillars:
        raise ConfigError(f"--pillars and --slots: {config.model.name} has no pillars; leave them out")
    if settings.slots and detector.settings.max_points is not None:
        limit = detector.settings.max_points
        raise ConfigError(f"--slots: the detector was trained with model.max_points={limit}; leave it out")
    plain: object
    for key, plain in (("neck_stage", 1), ("pillar_layers", []), ("intensity", True), ("centre_height", True)):
        value: object = getattr(detector.settings, key, plain)
        if value != plain:
            raise ConfigError(f"model.{key}: a detector with {value} cannot be exported; train one with {plain}")
    cells = grid_shape(config.data.range, detector.settings.voxel_size)[:2]
    whole = detector.encoder.stride * detector.bev.strides[0] * detector.bev.factors[-1]
    if any(count % whole for count in cells):
        raise ConfigError(
            f"data.range: {cells[0]} x {cells[1]} cells of model.voxel_size are no multiple of the strides' {whole};"
            " train with a range that is"
        )


def describe(networks: Networks, source: Source, settings: Settings, folder: Path) -> Card:
    """The card of a folder whose graphs are written."""
    detector, config = networks.detector, networks.detector.config
    model, data = detector.settings, config.data
    columns = ["x", "y", "z", "intensity", "time_lag"][: data.point_features]
    offsets = [f"{axis} - {what}" for what in ("mean", "centre") for axis in ("x", "y", "z")]
    pillars = None
    if networks.encoder is not None:
        pillars = Pillars(
            slots=networks.slots, overflow=networks.overflow, most=networks.most, features=columns + offsets,
            empty_slots=networks.encoder.empty_slots,
        )  # fmt: skip
    levels = len(model.strides) if detector.bev.fpn else 1
    return Card(
        target=settings.target,
        precision="float32",
        detector=model.name,
        bev=model.bev,
        run=source.run,
        checkpoint_sha256=digest(source.weights),
        versions=versions(),
        opset=networks.opset,
        range=data.range,
        voxel_size=model.voxel_size,
        grid=networks.grid,
        point_features=columns,
        camera_view=data.camera_view and data.kind == "kitti",
        pillars=pillars,
        channels=detector.encoder.channels_out,
        mark=MARK if model.bev == "sparse" else 0.0,
        strides=[detector.bev.strides[0] * detector.bev.factors[level] for level in range(levels)],
        classes=detector.classes,
        anchors=anchors_of(config),
        head=model.head,
        empty_logit=EMPTY_LOGIT,
        nms=model.nms,
        graphs=graphs_of(folder),
        config={"data": data.model_dump(mode="json"), "model": model.model_dump(mode="json")},
    )


def anchors_of(config: Config) -> list[Anchor]:
    """The anchors of a cell in the order of the head's channels."""
    model = config.model
    assert isinstance(model, AnchorDetectorConfig)
    names = list(model.anchors) if model.head.any_class else config.data.classes
    shapes = [(name, model.anchors[name]) for name in names]
    return [Anchor(name=name, size=one.size, z=one.z, yaw=yaw) for name, one in shapes for yaw in model.head.headings]


def graphs_of(folder: Path) -> dict[str, Graph]:
    """The graphs in a folder, by name."""
    result = {}
    for file in sorted([*folder.glob("*.onnx"), *folder.glob("*.xml")]):
        inputs, outputs = shapes(file)
        result[file.stem] = Graph(file=file.name, inputs=inputs, outputs=outputs)
    return result


def versions() -> dict[str, str]:
    """Of everything that made the files."""
    packages = {name: require(name).__version__ for name in ("onnx", "onnxruntime", "openvino")}
    return {"mink_pd": mink_pd.__version__, "python": platform.python_version(), "torch": torch.__version__} | packages
