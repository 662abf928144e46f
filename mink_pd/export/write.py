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
from mink_pd.export.anchor_head import EMPTY_LOGIT, AnchorMaps
from mink_pd.export.card import Anchor, Card, Graph, Pillars, Target, digest, write_card
from mink_pd.export.detector import ENCODER, NETWORK, WEIGHTS, WHOLE, ExportedDetector
from mink_pd.export.graph import OnnxSession, OpenVinoSession, check_opset, keep_outputs, require, shapes, write_onnx
from mink_pd.export.network import MARK, DenseNetwork, PillarEncoder, WholeNetwork
from mink_pd.export.pillars import pillar_rows
from mink_pd.export.runner import Maps, Runner, canvas_grid, check_rows, session_runner, torch_runner, two_graphs
from mink_pd.export.verify import Candidate, Report, verify
from mink_pd.files import replacing_folder, write_text
from mink_pd.models import Detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels
from mink_pd.sparse.voxels import grid_shape

TABLE = "verification.txt"
SLOTS = 16  # points a row holds, of detectors without a limit of their own: most pillars have fewer


@dataclass(frozen=True)
class Settings:
    """What is written. most: rows of the static graphs, None: any number; slots: points a row, None: the detector's."""

    target: Target = "onnx"
    opset: int = 17
    most: int | None = None
    slots: int | None = None


@dataclass(frozen=True)
class Source:
    """Where a detector comes from: its weights file, and the run's name."""

    weights: Path
    run: str


class Networks:
    """The dense networks of a detector, and the shapes of what they take."""

    def __init__(self, detector: AnchorDetector, settings: Settings) -> None:
        self.detector, self.grid = detector, canvas_grid(detector)
        sparse = detector.settings.bev == "sparse"
        pillars = detector.encoder
        self.encoder = PillarEncoder(pillars, sparse).eval() if isinstance(pillars, PillarFeatureNet) else None
        self.network = DenseNetwork(detector.bev, AnchorMaps(detector.head)).eval()
        limit = detector.settings.max_points
        self.slots, self.overflow = (limit, "drop") if limit is not None else (settings.slots or SLOTS, "rows")
        self.most, self.opset = settings.most, settings.opset

    def write(self, folder: Path, everything: Path) -> None:
        """Write the graphs; ``everything``: the second one with the maps of all stages."""
        columns, rows = self.grid
        canvas = torch.zeros(1, self.detector.encoder.channels_out, rows, columns)
        names = self.network.output_names
        write_onnx(everything, self.network, {"canvas": canvas}, names + self.network.stage_names, self.opset)
        keep_outputs(everything, folder / f"{NETWORK}.onnx", names)
        if self.encoder is None:
            return
        features = torch.zeros(self.most or 2, self.slots, self.encoder.linear.in_features)
        any_rows = {} if self.most else {0: "rows"}
        axes = {"features": any_rows, "pillars": any_rows}
        write_onnx(folder / f"{ENCODER}.onnx", self.encoder, {"features": features}, ["pillars"], self.opset, axes)
        # One graph has no maximum over rows of one pillar: where that may be needed a row takes all of its points.
        slots = {1: "slots"} if self.overflow == "rows" else {}
        axes = {"features": any_rows | slots, "coordinates": any_rows}
        coordinates = torch.zeros(len(features), 2, dtype=torch.int32)
        whole = WholeNetwork(self.encoder, self.network, self.grid).eval()
        inputs = {"features": features, "coordinates": coordinates}
        write_onnx(folder / f"{WHOLE}.onnx", whole, inputs, names, self.opset, axes)

    def candidates(self, folder: Path, everything: Path) -> dict[str, Candidate]:
        """The networks in torch and in every runtime, to be compared with the detector."""
        encoder = folder / f"{ENCODER}.onnx" if self.encoder is not None else None
        runners = [torch_runner(self.encoder, self.network)]
        for name, load in (("ONNX RT", OnnxSession), ("OpenVINO", OpenVinoSession)):
            first = load(encoder) if encoder else None
            runners.append(session_runner(name, first, load(everything), self.most))  # type: ignore[arg-type]
        result = {runner.name: self._candidate(runner) for runner in runners}
        if encoder:
            result["1 graph"] = self._whole(folder / f"{WHOLE}.onnx")
        return result

    def _candidate(self, runner: Runner) -> Candidate:
        def run(voxels: Voxels, name: str) -> Maps:
            return two_graphs(self.detector, runner, voxels, self.slots, self.most, name)

        return Candidate(run, self.detector)

    def _whole(self, path: Path) -> Candidate:
        session = OnnxSession(path)

        def run(voxels: Voxels, name: str) -> Maps:
            assert isinstance(self.detector.encoder, PillarFeatureNet)
            rows = pillar_rows(self.detector.encoder, voxels, self.slots if self.overflow == "drop" else None)
            check_rows(len(rows), self.most, name)
            features, coordinates = rows.features, rows.coordinates[:, 1:]
            more = (self.most or len(rows)) - len(rows)
            features = torch.cat([features, features.new_zeros(more, *features.shape[1:])])
            outside = coordinates.new_tensor([[self.grid[1], 0]]).expand(more, 2)
            inputs = {"features": features, "coordinates": torch.cat([coordinates, outside])}
            outputs = session.run({key: values.numpy() for key, values in inputs.items()})
            return {key: torch.from_numpy(values) for key, values in outputs.items()}

        return Candidate(run, self.detector)


def export(
    detector: Detector, source: Source, settings: Settings, frames: Frames, out: Path, console: Console
) -> Report:
    """Write the folder ``out`` after comparing on ``frames``, and print the comparison.

    Raises ConfigError for a detector or settings that cannot be exported, ExportError if anything differs from the
    detector; nothing is written then.
    """
    check_exportable(detector, settings)
    assert isinstance(detector, AnchorDetector)
    networks = Networks(detector.eval(), settings)
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(out) as folder:
        everything = Path(scratch) / "everything.onnx"
        networks.write(folder, everything)
        candidates = networks.candidates(folder, everything)
        if networks.encoder is None:
            (folder / WEIGHTS).write_bytes(source.weights.read_bytes())
        if settings.target == "openvino":
            to_openvino(folder)
        write_card(folder, describe(networks, source, settings, folder))
        written = ExportedDetector(folder)
        candidates["as saved"] = Candidate(written.maps, written.inner)
        report = verify(detector, candidates, frames)
        console.print(report.table())
        report.check(str(out))
        write_table(folder / TABLE, report)
        write_card(folder, written.card)
    return report


def write_table(path: Path, report: Report) -> None:
    """Keep the comparison as text."""
    console = Console(width=160, file=io.StringIO())
    with console.capture() as text:
        console.print(report.table())
    write_text(path, text.get())


def to_openvino(folder: Path) -> None:
    """Replace the graphs of a folder by OpenVINO's .xml and .bin."""
    openvino = require("openvino")
    for file in sorted(folder.glob("*.onnx")):
        openvino.save_model(openvino.convert_model(file), file.with_suffix(".xml"), compress_to_fp16=False)
        file.unlink()


def check_exportable(detector: Detector, settings: Settings) -> None:
    """Raise ConfigError for a detector or settings of which no graph can be made."""
    config = detector.config
    if not isinstance(detector, AnchorDetector):
        raise ConfigError(f"model.name {config.model.name}: has no dense equivalent; export pointpillars or second")
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
            slots=networks.slots, overflow=networks.overflow, most=settings.most, features=columns + offsets,
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
        opset=settings.opset,
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
    for name in (ENCODER, NETWORK, WHOLE):
        for suffix in (".onnx", ".xml"):
            file = folder / f"{name}{suffix}"
            if file.is_file():
                inputs, outputs = shapes(file)
                result[name] = Graph(file=file.name, inputs=inputs, outputs=outputs)
    return result


def versions() -> dict[str, str]:
    """Of everything that made the files."""
    packages = {name: require(name).__version__ for name in ("onnx", "onnxruntime", "openvino")}
    return {"mink_pd": mink_pd.__version__, "python": platform.python_version(), "torch": torch.__version__} | packages
