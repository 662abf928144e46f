"""The single graph that NVIDIA's CUDA-PointPillars loads (NVIDIA-AI-IOT, ``pointpillar.onnx``).

That program voxelises, decodes and suppresses with compiled-in numbers, and the detector must have the same numbers.
The scatter is a node ``PPScatterPlugin`` that only the program's TensorRT plugin can run. For the comparison, the graph
is cut at this node, and this module does the scatter between the two halves.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.errors import ConfigError
from mink_pd.export.graph import OnnxSession, require, save_onnx, write_onnx
from mink_pd.export.network import DenseNetwork, PillarEncoder
from mink_pd.export.networks import Networks, Settings
from mink_pd.export.pillars import pillar_rows
from mink_pd.export.runner import Maps, check_rows
from mink_pd.export.verify import Candidate
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels

FILE = "pointpillar.onnx"
PLUGIN = "PPScatterPlugin"
MOST, SLOTS, WIDTH = 10_000, 32, 64  # maximum pillars, points per pillar, channels of the plugin's kernel
OUTPUTS = {"cls_preds": "scores", "box_preds": "boxes", "dir_cls_preds": "directions"}
_SIZES = [(3.9, 1.6, 1.56), (0.8, 0.6, 1.73), (1.76, 0.6, 1.73)]  # l, w, h of the three classes' anchors
_BOTTOMS = [-1.78, -0.6, -0.6]


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in values)


class CudaPointPillars(Networks):
    """The graph, and its comparison with the detector."""

    default_opset = 11

    def __init__(self, detector: BevDetector, settings: Settings) -> None:
        super().__init__(detector, settings)
        self.rows = self.most = settings.most or MOST

    @staticmethod
    def check(config: Config) -> None:
        """Raise ConfigError for a detector whose numbers differ from those of the program."""
        model = config.model
        if not isinstance(model, PointPillarsConfig):
            raise ConfigError(f"--to cuda-pointpillars: is for model.name=pointpillars, not {model.name}")
        if len(config.data.classes) != 3 or model.head.any_class:
            raise ConfigError(
                "--to cuda-pointpillars: its program has three classes of two anchors each; use --to onnx"
            )
        anchors = [model.anchors[name] for name in config.data.classes]
        bottoms = [anchor.z - anchor.size[2] / 2 for anchor in anchors]
        wanted: dict[str, tuple[object, object]] = {
            "data.range": (config.data.range, (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)),
            "data.point_features": (config.data.point_features, 4),
            "model.voxel_size": (model.voxel_size, (0.16, 0.16, 4.0)),
            "model.max_points": (model.max_points, SLOTS),
            "model.strides[0]": (model.strides[0], 2),
            "model.neck_stage": (model.neck_stage, 1),
            "model.pillar_layers": (model.pillar_layers, []),
            "model.intensity": (model.intensity, True),
            "model.centre_height": (model.centre_height, True),
            "model.neck": (model.neck, "second"),
            "model.head.places": (model.head.places, "ends"),
            "model.head.velocity": (model.head.velocity, False),
            "model.head.headings": (_rounded(model.head.headings), (0.0, 1.57)),
            "model.head.direction_offset": (round(model.head.direction_offset, 4), 0.7854),
            "model.anchors sizes": ([anchor.size for anchor in anchors], _SIZES),
            "model.anchors bottoms": ([round(bottom, 3) for bottom in bottoms], _BOTTOMS),
        }
        for key, (own, theirs) in wanted.items():
            if own != theirs:
                raise ConfigError(
                    f"--to cuda-pointpillars: {key} is {own}, and {theirs} is compiled into its program;"
                    " configs/published/openpcdet_pointpillars.yaml has its numbers"
                )

    def write(self, folder: Path, everything: Path) -> None:
        assert self.encoder is not None
        if self.encoder.linear.out_features > WIDTH:
            channels = self.encoder.linear.out_features
            raise ConfigError(f"--to cuda-pointpillars: {channels} pillar channels, its plugin takes {WIDTH} at most")
        columns, rows = self.grid
        network = _Graph(self.encoder, self.network, rows, columns)
        inputs = {
            "voxels": torch.zeros(self.rows, SLOTS, 10),
            "voxel_idxs": torch.zeros(self.rows, 4, dtype=torch.int32),
            "voxel_num": torch.ones(1, dtype=torch.int32),
        }
        write_onnx(folder / FILE, network, inputs, list(OUTPUTS), self.opset, plugin=PLUGIN)

    def candidates(self, folder: Path, everything: Path) -> dict[str, Candidate]:
        return {"as saved": Candidate(self._run(folder / FILE, everything.parent), self.detector, self.network.head)}

    def saved(self, folder: Path) -> dict[str, Candidate]:
        return {}  # the graph has already been compared, and detect cannot run its plugin

    def _run(self, path: Path, scratch: Path) -> Any:
        first, second = halves(path, scratch)

        def run(voxels: Voxels, name: str) -> Maps:
            assert isinstance(self.detector.encoder, PillarFeatureNet)
            rows = pillar_rows(self.detector.encoder, voxels, SLOTS)
            check_rows(len(rows), self.rows, name)
            features = np.zeros((self.rows, *rows.features.shape[1:]), np.float32)
            features[: len(rows)] = rows.features.numpy()
            (pillars,) = first.run({"voxels": features}).values()
            canvas = np.zeros((1, WIDTH, *self.grid[::-1]), np.float32)
            _, y, x = rows.coordinates.t().numpy()
            canvas[0, :, y, x] = pillars[: len(rows)]
            (name_in,) = second.inputs
            outputs = second.run({name_in: canvas})
            maps = {ours: torch.from_numpy(outputs[theirs].transpose(0, 3, 1, 2)) for theirs, ours in OUTPUTS.items()}
            own = self.detector.encoder.channels_out
            return {"canvas": torch.from_numpy(canvas[:, :own])} | maps

        return run


def halves(path: Path, scratch: Path) -> tuple[OnnxSession, OnnxSession]:
    """The part of the graph before its plugin (voxels -> pillars), and the part after it (canvas -> outputs)."""
    onnx = require("onnx")
    from onnx.utils import Extractor

    model = onnx.load(path)
    (plugin,) = [node for node in model.graph.node if node.op_type == PLUGIN]
    (shape,) = [list(attribute.ints) for attribute in plugin.attribute]
    kind, describe = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info
    model.graph.value_info.append(describe(plugin.input[0], kind, [None, WIDTH]))
    model.graph.value_info.append(describe(plugin.output[0], kind, [1, WIDTH, *shape]))
    extractor = Extractor(model)
    cuts = ((["voxels"], [plugin.input[0]]), ([plugin.output[0]], list(OUTPUTS)))
    sessions = []
    for number, (inputs, outputs) in enumerate(cuts):
        half = scratch / f"half{number}.onnx"
        save_onnx(half, extractor.extract_model(inputs, outputs))
        sessions.append(OnnxSession(half))
    return sessions[0], sessions[1]


class _Graph(nn.Module):
    """voxels (M, 32, 10), voxel_idxs int32 (M, 4), batch, z, y, x, voxel_num int32 (1,) -> logits, channels last."""

    def __init__(self, encoder: PillarEncoder, network: DenseNetwork, rows: int, columns: int) -> None:
        super().__init__()
        self.encoder, self.network, self.rows, self.columns = encoder, network, rows, columns

    def forward(self, voxels: Tensor, voxel_idxs: Tensor, voxel_num: Tensor) -> tuple[Tensor, ...]:
        pillars = self.encoder(voxels)  # (M, C)
        width = pillars.shape[1]
        pillars = nn.functional.pad(pillars, (0, WIDTH - width))  # (M, 64)
        canvas = _Scatter.apply(pillars, voxel_idxs, voxel_num, self.rows, self.columns)  # (1, 64, y, x)
        maps = self.network(canvas[:, :width])[: len(OUTPUTS)]
        return tuple(values.permute(0, 2, 3, 1) for values in maps)


class _Scatter(torch.autograd.Function):
    """The plugin: it writes the first ``voxel_num`` pillars into the cells that ``voxel_idxs`` names."""

    @staticmethod
    def forward(ctx: Any, pillars: Tensor, voxel_idxs: Tensor, voxel_num: Tensor, rows: int, columns: int) -> Tensor:
        canvas = pillars.new_zeros(1, pillars.shape[1], rows, columns)
        taken = voxel_idxs[: int(voxel_num)].long()
        canvas[0, :, taken[:, 2], taken[:, 3]] = pillars[: int(voxel_num)].t()
        return canvas

    @staticmethod
    def symbolic(graph: Any, pillars: Any, voxel_idxs: Any, voxel_num: Any, rows: int, columns: int) -> Any:
        result = graph.op(f"mink_pd::{PLUGIN}", pillars, voxel_idxs, voxel_num, dense_shape_i=[rows, columns])
        result.setType(pillars.type().with_sizes([1, WIDTH, rows, columns]))
        return result
