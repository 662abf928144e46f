"""Export of a trained detector: graphs, ``model.yaml`` and a table of their comparison with the detector."""

import io
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import mink_pd
from mink_pd.config import Config, DataConfig
from mink_pd.config.centerpoint import CenterDetectorConfig
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.data.frame import Frames
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine_file import file_settings
from mink_pd.errors import ConfigError, DataError
from mink_pd.export.autoware import Autoware
from mink_pd.export.card import Anchor, Card, Cloud, Graph, Pillars, Target, digest, write_card
from mink_pd.export.cuda_pointpillars import CudaPointPillars
from mink_pd.export.detector import NETWORK, WEIGHTS, WHOLE
from mink_pd.export.graph import check_opset, require, shapes
from mink_pd.export.heads import EMPTY_LOGIT, head_maps
from mink_pd.export.network import MARK
from mink_pd.export.networks import Networks, OpenVinoNetworks, Settings
from mink_pd.export.quantise import Figures, Quantised, quantise
from mink_pd.export.runner import make_canvas, torch_runner
from mink_pd.export.verify import Report, verify
from mink_pd.files import read_bytes, replacing_folder, write_text
from mink_pd.models import Detector
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse.voxels import grid_shape

TARGETS: dict[Target, type[Networks]] = {
    "onnx": Networks,
    "openvino": OpenVinoNetworks,
    "autoware": Autoware,
    "cuda-pointpillars": CudaPointPillars,
}
Score = Callable[[str, Detector], Figures]  # name and detector -> AP
TABLE = "verification.txt"
CALIBRATION = 128  # largest number of clouds for calibration
PER_CHANNEL = 13  # opset from which weights are quantised with a range for each channel
POINT = ("x", "y", "z", "intensity", "time lag")  # columns of a point


@dataclass(frozen=True)
class Source:
    """The origin of a detector."""

    weights: Path  # its weights file
    run: str  # name of its run


def export(
    detector: Detector,
    source: Source,
    settings: Settings,
    frames: Frames,
    out: Path,
    console: Console,
    score: Score | None = None,
) -> Report:
    """Compare the graphs with the detector on ``frames``, print the comparison, and write the folder ``out``.

    ``score``: returns the AP of a detector. It measures the loss by int8, see :func:`quantise`.

    Raises ConfigError for a detector or settings that cannot be exported, and ExportError if anything differs from the
    detector. Nothing is written then.
    """
    check_exportable(detector, settings)
    assert isinstance(detector, BevDetector)
    networks = TARGETS[settings.target](detector.eval(), settings)
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(out) as folder:
        everything = Path(scratch) / "everything.onnx"
        networks.write(folder, everything)
        candidates = networks.candidates(folder, everything)
        quantised = quantise_folder(networks, frames, folder, Path(scratch), score) if settings.int8 else None
        networks.finish(folder)
        if networks.encoder is None:
            (folder / WEIGHTS).write_bytes(read_bytes(source.weights))
        card = describe(networks, source, settings, folder)
        write_card(folder, card)
        saved = networks.saved(folder)  # int8 computes something else; for it this only tests that the folder loads
        report = verify(detector, candidates if settings.int8 else candidates | saved, frames)
        report.quantised = quantised
        tables = [report.table()] if quantised is None else [report.table(), quantised.table()]
        for table in tables:
            console.print(table)
        report.check(str(out))
        write_tables(folder / TABLE, tables)
        write_card(folder, card)
    return report


def quantise_folder(networks: Networks, frames: Frames, folder: Path, scratch: Path, score: Score | None) -> Quantised:
    """Quantise the second graph of a folder, calibrated on at most CALIBRATION frames, and remove the single graph."""
    runner, canvases = torch_runner(networks.encoder, networks.network), []
    for frame in (frames[index] for index in range(min(len(frames), CALIBRATION))):
        with torch.inference_mode():
            voxels = networks.detector.shared_input(collate([frame], networks.detector.classes))
            if len(voxels):
                canvases.append(make_canvas(networks.detector, runner, voxels, networks.slots, name=frame.id).numpy())
    if not canvases:
        raise DataError("--frames: no cloud has a point in the detector's range; give clouds of its sensor")
    (folder / f"{WHOLE}.onnx").unlink(missing_ok=True)
    measure = None if score is None else lambda name, path: score(name, networks.loaded(folder, path))
    return quantise(folder / f"{NETWORK}.onnx", canvases, scratch, measure)


def write_tables(path: Path, tables: list[Table]) -> None:
    """Write the printed tables to a file."""
    console = Console(width=160, file=io.StringIO())
    with console.capture() as text:
        for table in tables:
            console.print(table)
    write_text(path, text.get())


def check_exportable(detector: Detector, settings: Settings) -> None:
    """Raise ConfigError for a detector or settings that cannot be exported."""
    config = detector.config
    if not isinstance(detector, BevDetector) or head_maps(detector) is None:
        raise ConfigError(f"model.name {config.model.name}: has no dense equivalent; export another detector")
    if settings.int8 and settings.target not in ("onnx", "openvino"):
        raise ConfigError(f"--int8: {settings.target} quantises with its own tools; use --to onnx or openvino")
    if settings.int8 and settings.opset is not None and settings.opset < PER_CHANNEL:
        raise ConfigError(f"--int8: needs --opset {PER_CHANNEL} or later, for weights with a range per channel")
    if settings.int8:
        require("nncf")
    TARGETS[settings.target].check(config)
    if settings.opset is not None:
        check_opset(settings.opset)
    for package in ("onnx", "onnxruntime", "openvino"):
        require(package)
    limit = detector.settings.max_points
    if not isinstance(detector.encoder, PillarFeatureNet):
        if settings.most or settings.slots:
            raise ConfigError(f"--pillars and --slots: {config.model.name} has no pillars; leave them out")
    elif settings.slots and limit is not None:
        raise ConfigError(f"--slots: the detector was trained with model.max_points={limit}; leave it out")
    elif limit is None and len(detector.encoder.hidden):
        raise ConfigError("model.pillar_layers: a pillar must fit into one row; train with model.max_points=32")
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
    model, data, bev = detector.settings, config.data, detector.bev
    settings_of = model.model_dump(mode="json")
    return Card(
        target=settings.target,
        precision="int8" if settings.int8 else "float32",
        detector=model.name,
        bev=model.bev,
        run=source.run,
        checkpoint_sha256=digest(source.weights),
        versions=versions(),
        opset=networks.opset,
        range=data.range,
        voxel_size=model.voxel_size,
        grid=networks.grid,
        point_features=list(POINT[: data.point_features]),
        camera_view=data.camera_view,
        cloud=cloud_of(data),
        pillars=pillars_of(networks),
        channels=detector.encoder.channels_out,
        mark=MARK if model.bev == "sparse" else 0.0,
        strides=[bev.strides[0] * bev.factors[number] for number in bev.neck_stages],
        classes=detector.classes,
        anchors=anchors_of(config),
        tasks=model.groups(detector.classes) if isinstance(model, CenterDetectorConfig) else None,
        head=settings_of["head"],
        empty_logit=EMPTY_LOGIT,
        nms=settings_of["nms"],
        graphs=graphs_of(folder),
        config={"data": data.model_dump(mode="json"), "model": settings_of},
    )


def cloud_of(data: DataConfig) -> Cloud:
    """How the detector's clouds are read from files."""
    settings = file_settings(data)
    return Cloud(
        columns=settings.columns,
        dtype=settings.dtype,
        intensity=settings.intensity,
        axes=settings.axes,
        own_vehicle=settings.own_vehicle,
    )


def pillars_of(networks: Networks) -> Pillars | None:
    """How points of pillars become inputs of the graph; None for a detector without pillars."""
    net = networks.detector.encoder
    if not isinstance(net, PillarFeatureNet):
        return None
    centre = [f"{axis} - centre" for axis in "xyz"[: net.centre_axes]]
    features = [*(POINT[column] for column in net.columns), *(f"{axis} - mean" for axis in "xyz"), *centre]
    return Pillars(
        slots=networks.slots,
        overflow=networks.overflow,
        most=networks.most,
        features=features,
        empty_slots=net.empty_slots,
    )


def anchors_of(config: Config) -> list[Anchor]:
    """The anchors of a cell in the order of the head's channels; empty for a detector without anchors."""
    model = config.model
    if not isinstance(model, AnchorDetectorConfig):
        return []
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
    """The versions of all packages that made the files."""
    packages = {name: require(name).__version__ for name in ("onnx", "onnxruntime", "openvino")}
    return {"mink_pd": mink_pd.__version__, "python": platform.python_version(), "torch": torch.__version__} | packages
