"""The dense networks of a detector, written as graphs and loaded by the runtimes."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mink_pd.config import Config
from mink_pd.export.card import Target
from mink_pd.export.detector import ENCODER, NETWORK, WHOLE, ExportedDetector, GraphDetector, Runtime, load_session
from mink_pd.export.graph import OnnxSession, OpenVinoSession, keep_outputs, openvino_core, require, write_onnx
from mink_pd.export.heads import head_maps
from mink_pd.export.network import DenseNetwork, PillarEncoder, WholeNetwork
from mink_pd.export.pillars import pillar_rows
from mink_pd.export.runner import Maps, Runner, canvas_grid, check_rows, session_runner, torch_runner, two_graphs
from mink_pd.export.verify import Candidate
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels

SLOTS = 16  # points per row for detectors without a limit; most pillars have fewer


@dataclass(frozen=True)
class Settings:
    """The options of an export."""

    target: Target = "onnx"
    opset: int | None = None  # None: that of the target
    most: int | None = None  # number of rows of static graphs; None: any
    slots: int | None = None  # points per row; None: those of the detector
    int8: bool = False  # quantise the second network


class Networks:
    """The dense networks of a detector and the shapes of their inputs. A target may write them in its own way."""

    default_opset = 17
    runtime: Runtime = "onnxruntime"  # for which the files are written

    def __init__(self, detector: BevDetector, settings: Settings) -> None:
        self.detector, self.grid = detector, canvas_grid(detector)
        sparse = detector.settings.bev == "sparse"
        pillars = detector.encoder
        self.encoder = PillarEncoder(pillars, sparse).eval() if isinstance(pillars, PillarFeatureNet) else None
        head = head_maps(detector)
        assert head is not None
        self.network = DenseNetwork(detector.bev, head).eval()
        limit = detector.settings.max_points
        self.slots, self.overflow = (limit, "drop") if limit is not None else (settings.slots or SLOTS, "rows")
        self.most, self.opset = settings.most, settings.opset or self.default_opset

    @staticmethod
    def check(config: Config) -> None:
        """Raise ConfigError for a detector that the target cannot run."""

    def write(self, folder: Path, everything: Path) -> None:
        """Write the graphs to ``folder``, and the second one with the maps of all stages to ``everything``."""
        columns, rows = self.grid
        canvas = torch.zeros(1, self.detector.encoder.channels_out, rows, columns)
        names = self.network.output_names
        write_onnx(everything, self.network, {"canvas": canvas}, names + self.network.stage_names, self.opset)
        keep_outputs(everything, folder / f"{NETWORK}.onnx", names)
        if self.encoder is None:
            return
        features = torch.zeros(self.most or 2, self.slots, self.encoder.features)
        any_rows = {} if self.most else {0: "rows"}
        axes = {"features": any_rows, "pillars": any_rows}
        write_onnx(folder / f"{ENCODER}.onnx", self.encoder, {"features": features}, ["pillars"], self.opset, axes)
        # The single graph has no maximum over a pillar's rows, so a row has any number of slots to hold a whole pillar.
        slots = {1: "slots"} if self.overflow == "rows" else {}
        axes = {"features": any_rows | slots, "coordinates": any_rows}
        coordinates = torch.zeros(len(features), 2, dtype=torch.int32)
        whole = WholeNetwork(self.encoder, self.network, self.grid).eval()
        inputs = {"features": features, "coordinates": coordinates}
        write_onnx(folder / f"{WHOLE}.onnx", whole, inputs, names, self.opset, axes)

    def candidates(self, folder: Path, everything: Path) -> dict[str, Candidate]:
        """The networks in torch and in every runtime, for the comparison with the detector."""
        encoder = folder / f"{ENCODER}.onnx" if self.encoder is not None else None
        runners = [torch_runner(self.encoder, self.network)]
        for name, load in (("ONNX RT", OnnxSession), ("OpenVINO", OpenVinoSession)):
            first = load(encoder) if encoder else None
            runners.append(session_runner(name, first, load(everything), self.most))  # type: ignore[arg-type]
        result = {runner.name: self._candidate(runner) for runner in runners}
        if encoder:
            result["1 graph"] = self._whole(folder / f"{WHOLE}.onnx")
        return result

    def loaded(self, folder: Path, network: Path) -> GraphDetector:
        """The detector with the first graph of ``folder`` and ``network`` as the second one; only before
        :meth:`finish`."""
        first = load_session(folder / f"{ENCODER}.onnx", self.runtime) if self.encoder is not None else None
        runner = session_runner(self.runtime, first, load_session(network, self.runtime), self.most)
        return GraphDetector(self.detector, runner, self.slots, self.most)

    def finish(self, folder: Path) -> None:
        """Convert the compared graphs into the files that the target loads."""

    def saved(self, folder: Path) -> dict[str, Candidate]:
        """The finished folder, loaded with its card, for a second comparison."""
        written = ExportedDetector(folder)
        return {"as saved": Candidate(written.maps, written.inner, self.network.head)}

    def _candidate(self, runner: Runner) -> Candidate:
        def run(voxels: Voxels, name: str) -> Maps:
            return two_graphs(self.detector, runner, voxels, self.slots, self.most, name)

        return Candidate(run, self.detector, self.network.head)

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

        return Candidate(run, self.detector, self.network.head)


class OpenVinoNetworks(Networks):
    """The same graphs as OpenVINO's .xml and .bin files."""

    runtime: Runtime = "openvino"

    def finish(self, folder: Path) -> None:
        openvino = require("openvino")
        for file in sorted(folder.glob("*.onnx")):
            openvino.save_model(openvino_core().read_model(file), file.with_suffix(".xml"), compress_to_fp16=False)
            file.unlink()
