"""The two graphs and the parameter file that Autoware's ``lidar_centerpoint`` node loads, in the geometry of its
``centerpoint_tiny``.

The node voxelises, scatters, decodes and suppresses. It expects width before length, and a yaw' = -yaw - pi / 2, where
yaw is the heading of this package. The export builds both conventions into the last convolutions.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.config.centerpoint import CenterPointPillarsConfig
from mink_pd.errors import ConfigError
from mink_pd.export.card import plain_yaml
from mink_pd.export.graph import OnnxSession, keep_outputs, write_onnx
from mink_pd.export.heads import CenterMaps
from mink_pd.export.network import PillarEncoder
from mink_pd.export.networks import Networks, Settings
from mink_pd.export.pillars import canvas_of, pillar_rows
from mink_pd.export.runner import Maps, check_rows
from mink_pd.export.verify import Candidate
from mink_pd.files import write_text
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels

ENCODER, HEAD = "pts_voxel_encoder_centerpoint_tiny", "pts_backbone_neck_head_centerpoint_tiny"
PARAMETERS = "centerpoint_tiny_ml_package.param.yaml"
MOST, SLOTS, WIDTH = 40_000, 32, 32  # constants of the node: maximum pillars, points per pillar, channels per pillar
OUTPUTS = ("heatmap", "reg", "height", "dim", "rot", "vel")  # the node identifies them by their order
# Class names of nuScenes, KITTI and the simulators -> those of the node.
CLASSES = {
    "car": "CAR",
    "truck": "TRUCK",
    "bus": "BUS",
    "trailer": "TRAILER",
    "bicycle": "BICYCLE",
    "cyclist": "BICYCLE",
    "motorcycle": "MOTORBIKE",
    "pedestrian": "PEDESTRIAN",
}
DISTANCES, SCORE, YAW_NORM = [50.0, 90.0, 121.0, 200.0], 0.35, 0.3  # the node's default thresholds


class Autoware(Networks):
    """The graphs, the parameter file, and their comparison with the detector."""

    default_opset = 13

    @staticmethod
    def check(config: Config) -> None:
        model = config.model
        if not isinstance(model, CenterPointPillarsConfig):
            raise ConfigError(f"--to autoware: is for model.name=centerpoint_pillars, not {model.name}")
        wanted: dict[str, tuple[object, object]] = {
            "model.intensity": (model.intensity, False),  # a point is x, y, z and the time lag
            "data.point_features": (config.data.point_features, 5),
            "model.centre_height": (model.centre_height, False),
            "model.max_points": (model.max_points, SLOTS),
            "model.tasks in one group": (len(model.groups(config.data.classes)), 1),
            "model.head.iou": (model.head.iou, False),
        }
        for key, (own, theirs) in wanted.items():
            if own != theirs:
                raise ConfigError(
                    f"--to autoware: {key} is {own}, the node needs {theirs}; see configs/centerpoint_autoware.yaml"
                )
        unknown = [name for name in config.data.classes if name.lower() not in CLASSES]
        if unknown:
            raise ConfigError(f"--to autoware: the node knows no class {unknown[0]}, but {', '.join(CLASSES)}")

    def __init__(self, detector: BevDetector, settings: Settings) -> None:
        super().__init__(detector, settings)
        self.rows = self.most = settings.most or MOST

    def write(self, folder: Path, everything: Path) -> None:
        assert self.encoder is not None
        channels = self.detector.encoder.channels_out
        if channels > WIDTH:
            raise ConfigError(f"--to autoware: {channels} pillar channels, the node takes {WIDTH}; raise compression")
        features = torch.zeros(self.rows, SLOTS, self.encoder.features)
        encoder = _Encoder(self.encoder)
        write_onnx(folder / f"{ENCODER}.onnx", encoder, {"input_features": features}, ["pillar_features"], self.opset)
        columns, rows = self.grid
        canvas = torch.zeros(1, WIDTH, rows, columns)
        names = [*OUTPUTS, *self.network.stage_names]
        network = _Head(self, channels).eval()
        write_onnx(everything, network, {"spatial_features": canvas}, names, self.opset)
        keep_outputs(everything, folder / f"{HEAD}.onnx", list(OUTPUTS))
        write_text(folder / PARAMETERS, plain_yaml(self.parameters()))

    def parameters(self) -> dict[str, Any]:
        """The node's parameters, both in the form of 2026 (paths, version) and in the earlier one."""
        config, bev = self.detector.config, self.detector.bev
        assert isinstance(config.model, CenterPointPillarsConfig)
        (group,) = config.model.groups(config.data.classes)  # the heatmap's channels, in their order
        names = [CLASSES[name.lower()] for name in group]
        scores = {name: [SCORE] * len(DISTANCES) for name in names}
        model = {
            "class_names": names,
            "point_feature_size": 4,
            "max_voxel_size": self.rows,
            "point_cloud_range": list(config.data.range),
            "voxel_size": list(self.detector.settings.voxel_size),
            "downsample_factor": bev.strides[0] * bev.factors[bev.neck_stages[0]],
            "encoder_in_feature_size": 9,
            "has_variance": False,
            "has_twist": "velocity" in self.network.head.names,
            "yaw_norm_thresholds": [0.0 if name == "PEDESTRIAN" else YAW_NORM for name in names],
            "score_thresholds": {"upper_bounds": DISTANCES, "thresholds": scores},
            "detection_score_thresholds": {"distance_bin_upper_limits": DISTANCES, "min_confidence_scores": scores},
        }
        package = {
            "version": "v4.1",
            "model_params_version": "1.0.0",
            "encoder_onnx_path": f"{ENCODER}.onnx",
            "encoder_engine_path": f"{ENCODER}.engine",
            "head_onnx_path": f"{HEAD}.onnx",
            "head_engine_path": f"{HEAD}.engine",
            "class_remapper_param_path": "detection_class_remapper.param.yaml",  # the node's own
            "trt_precision": "fp16",
            "model_params": model,
        }
        return {"/**": {"ros__parameters": package}}

    def candidates(self, folder: Path, everything: Path) -> dict[str, Candidate]:
        first, second = OnnxSession(folder / f"{ENCODER}.onnx"), OnnxSession(everything)

        def run(voxels: Voxels, name: str) -> Maps:
            assert isinstance(self.detector.encoder, PillarFeatureNet)
            rows = pillar_rows(self.detector.encoder, voxels, SLOTS)
            check_rows(len(rows), self.rows, name)
            padding = rows.features.new_zeros(self.rows - len(rows), *rows.features.shape[1:])
            inputs = {"input_features": torch.cat([rows.features, padding]).numpy()}
            pillars = torch.from_numpy(first.run(inputs)["pillar_features"][: len(rows), 0])
            canvas = canvas_of(pillars, rows.coordinates, 1, self.grid)
            outputs = second.run({"spatial_features": canvas.numpy()})
            maps = {key: torch.from_numpy(values) for key, values in outputs.items()}
            return {"canvas": canvas[:, : self.detector.encoder.channels_out]} | _as_ours(maps)

        return {"ONNX RT": Candidate(run, self.detector, self.network.head)}

    def saved(self, folder: Path) -> dict[str, Candidate]:
        return {}  # the graphs have already been compared


class _Encoder(nn.Module):
    """input_features (M, 32, 9) -> pillar_features (M, 1, 32)."""

    def __init__(self, encoder: PillarEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> Tensor:
        pillars = self.encoder(features)  # (M, C)
        return nn.functional.pad(pillars, (0, WIDTH - pillars.shape[1]))[:, None]


class _Head(nn.Module):
    """spatial_features (1, 32, y, x) -> the six maps in the node's conventions, and those of the stages."""

    def __init__(self, networks: Autoware, channels: int) -> None:
        super().__init__()
        self.network, self.channels = networks.network, channels
        assert isinstance(self.network.head, CenterMaps)
        self.names = self.network.head.names

    def forward(self, canvas: Tensor) -> tuple[Tensor, ...]:
        values = self.network(canvas[:, : self.channels])
        maps = dict(zip(self.names, values, strict=False))
        size, yaw, offset = maps["size"], maps["yaw"], maps["offset"]
        dim = torch.cat([size[:, 1:2], size[:, 0:1], size[:, 2:3]], dim=1)  # w, l, h
        # With yaw' = -yaw - pi / 2: sin yaw' = -cos yaw, cos yaw' = -sin yaw.
        rot = torch.cat([-yaw[:, 1:2], -yaw[:, 0:1]], dim=1)
        vel = maps.get("velocity", offset * 0)
        return (maps["heatmap"], offset, maps["height"], dim, rot, vel, *values[len(self.names) :])


def _as_ours(maps: Maps) -> Maps:
    """The node's maps in the detector's own names and conventions."""
    dim, rot = maps["dim"], maps["rot"]
    ours = {
        "heatmap": maps["heatmap"], "offset": maps["reg"], "height": maps["height"],
        "size": torch.cat([dim[:, 1:2], dim[:, 0:1], dim[:, 2:3]], dim=1),
        "yaw": torch.cat([-rot[:, 1:2], -rot[:, 0:1]], dim=1), "velocity": maps["vel"],
    }  # fmt: skip
    return {name: values for name, values in maps.items() if name not in OUTPUTS} | ours
