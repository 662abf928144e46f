"""The two networks of an exported detector, run by torch, ONNX Runtime or OpenVINO, from voxels to a prediction."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mink_pd.errors import DataError
from mink_pd.export.graph import Session
from mink_pd.export.heads import HeadMaps
from mink_pd.export.network import MARK, DenseNetwork, PillarEncoder, level_name
from mink_pd.export.pillars import canvas_of, pillar_rows
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.detector import Prediction
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels
from mink_pd.sparse.voxels import grid_shape

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Runner:
    """The two networks in a runtime."""

    name: str  # of the runtime
    encode: Callable[[Tensor], Tensor] | None  # points' features (R, N, F) -> (R, C); None: the detector's own encoder
    network: Callable[[Tensor], Maps]  # canvas (1, C, y, x) -> maps by name


def torch_runner(encoder: PillarEncoder | None, network: DenseNetwork) -> Runner:
    """The dense networks in torch."""
    names = network.output_names + network.stage_names
    return Runner("torch", encoder, lambda canvas: dict(zip(names, network(canvas), strict=True)))


def session_runner(name: str, encoder: Session | None, network: Session, most: int | None) -> Runner:
    """Two loaded graphs. most: number of rows of the first one; None: any."""

    def encode(features: Tensor) -> Tensor:
        assert encoder is not None
        result = []
        for part in features.split(most or len(features)):
            padding = part.new_zeros((most or len(part)) - len(part), *part.shape[1:])
            pillars = encoder.run({"features": torch.cat([part, padding]).numpy()})["pillars"]
            result.append(torch.from_numpy(pillars[: len(part)]))
        return torch.cat(result)

    def run(canvas: Tensor) -> Maps:
        return {key: torch.from_numpy(values) for key, values in network.run({"canvas": canvas.numpy()}).items()}

    return Runner(name, encode if encoder is not None else None, run)


def canvas_grid(detector: BevDetector) -> tuple[int, int]:
    """Cells along x and y of the canvas."""
    columns, rows, _ = grid_shape(detector.config.data.range, detector.settings.voxel_size)
    stride = detector.encoder.stride
    return -(-columns // stride), -(-rows // stride)


def make_canvas(
    detector: BevDetector, runner: Runner, voxels: Voxels, slots: int, most: int | None = None, name: str = "cloud"
) -> Tensor:
    """The canvas (B, C, y, x) of all frames of ``voxels``.

    slots, most: points per row and number of rows of a pillar graph. Raises DataError, naming the cloud, for more rows.
    """
    grid = canvas_grid(detector)
    if isinstance(detector.encoder, PillarFeatureNet):
        assert runner.encode is not None
        rows = pillar_rows(detector.encoder, voxels, slots)
        check_rows(int(rows.coordinates[:, 0].bincount().max()), most, name)
        return canvas_of(runner.encode(rows.features), rows.coordinates, voxels.frames, grid)
    encoded, columns = detector.encoder.encode(voxels)
    stride = detector.encoder.stride
    coordinates = torch.cat([encoded.C[:, :1], torch.div(encoded.C[:, [2, 1]], stride, rounding_mode="floor")], dim=1)
    features = encoded.F
    if detector.settings.bev == "sparse":
        unseen = (features.amax(dim=1) <= 0).to(features.dtype)  # (S,)
        features = torch.cat([features[:, :1] + MARK * unseen[:, None], features[:, 1:]], dim=1)
    return canvas_of(features, coordinates, columns.frames, grid)


def check_rows(rows: int, most: int | None, name: str) -> None:
    """Raise DataError if there are more rows of pillars than a graph takes."""
    if most is not None and rows > most:
        raise DataError(f"{name}: has {rows} pillars, the graph takes {most}; export with --pillars {rows} or more")


def run_network(runner: Runner, canvas: Tensor) -> Maps:
    """The maps (B, C_i, y_i, x_i) of a canvas (B, C, y, x). The network runs once per frame."""
    frames = [runner.network(one) for one in canvas.split(1)]
    return {name: torch.cat([frame[name] for frame in frames]) for name in frames[0]}


def two_graphs(
    detector: BevDetector, runner: Runner, voxels: Voxels, slots: int, most: int | None = None, name: str = "cloud"
) -> Maps:
    """The canvas and all maps, from voxels."""
    canvas = make_canvas(detector, runner, voxels, slots, most, name)
    return {"canvas": canvas} | run_network(runner, canvas)


def prediction_of(head: HeadMaps, detector: BevDetector, maps: Maps, voxels: Voxels) -> Prediction:
    """The prediction from maps that include those of the detector's head."""
    levels = [
        {name: maps[level_name(name, level)] for name in head.names}
        for level in range(1, len(detector.bev.neck_stages) + 1)
    ]
    return head.prediction(detector, levels, voxels)
