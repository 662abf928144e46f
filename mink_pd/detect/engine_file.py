"""A trained detector as the one file that the engine loads (docs/engine.md describes the format)."""

import json
import struct
import zlib
from itertools import chain
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

import mink_pd
from mink_pd.config import DataConfig
from mink_pd.config.centerpoint import CenterDetectorConfig, CenterNMSConfig
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.config.points import PointsConfig
from mink_pd.data.datasets.nuscenes_dataset import NuScenesConfig, sweep_settings
from mink_pd.detect.engine_support import check_supported
from mink_pd.models import Detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.checkpoint import ENGINE_MAGIC
from mink_pd.models.detectors.centerpoint import CenterDetector
from mink_pd.models.layers.necks import SparseFpn
from mink_pd.models.layers.pillars import PillarFeatureNet, PointLayer
from mink_pd.models.layers.sparse_encoder import LIFT, ResidualBlock, SparseEncoder
from mink_pd.sparse import ConvBlock
from mink_pd.sparse.norm import BatchNorm
from mink_pd.sparse.voxels import grid_shape

VERSION = 4
SUFFIX = ".mpd"
COLUMNS = ("x", "y", "z", "intensity", "time lag")
_MOST = 2**30  # points and candidates: a cloud has fewer
_PREAMBLE = struct.Struct("<8sIIQQ")  # magic, version, CRC-32 and number of the bytes that follow, 0

Tensors = dict[str, Tensor]


def engine_file(detector: Detector, filtered: bool = False) -> bytes:
    """The content of the file in float32; arguments and errors as of :func:`engine_parts`."""
    return pack(*engine_parts(detector, filtered))


def engine_parts(detector: Detector, filtered: bool = False) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of the file, float32, and its description.

    filtered: for clouds whose reader has left out points at the origin and on the own vehicle. Raises ConfigError,
    naming the setting, for a detector that the engine cannot run.
    """
    check_supported(detector)
    assert isinstance(detector, BevDetector)
    tensors: Tensors = {}
    with torch.no_grad():
        description = {
            "made_by": f"mink_pd {mink_pd.__version__}",
            "detector": detector.config.model.name,
            "classes": detector.classes,
            "points": _points(detector) | ({"own_vehicle": None, "drop_origin": False} if filtered else {}),
            "encoder": _encoder(detector, tensors),
            "bev": _bev(detector, tensors),
            "head": _head(detector, tensors),
            "suppression": _suppression(detector),
        }
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}, description


def pack(tensors: Tensors, description: dict[str, Any]) -> bytes:
    """The content of the file from its parts."""
    content = save(tensors, {"mink_pd": json.dumps(description)})
    return _PREAMBLE.pack(ENGINE_MAGIC, VERSION, zlib.crc32(content), len(content), 0) + content


def file_settings(data: DataConfig) -> PointsConfig:
    """How a detector's clouds are read from files."""
    return sweep_settings(data) if isinstance(data, NuScenesConfig) else data


def _points(detector: BevDetector) -> dict[str, Any]:
    """What a point is, and the grid."""
    data, encoder = detector.config.data, detector.encoder
    every = range(data.point_features)
    return {
        "columns": COLUMNS[: data.point_features],
        "seen": encoder.columns if isinstance(encoder, PillarFeatureNet) else [*every],
        "intensity": file_settings(data).intensity,
        "lower": data.range[:3],
        "size": detector.settings.voxel_size,
        "cells": grid_shape(data.range, detector.settings.voxel_size),
        "own_vehicle": data.own_vehicle,
        "drop_origin": True,
        "most": None if detector.settings.max_points is None else min(detector.settings.max_points, _MOST),
    }


def _encoder(detector: BevDetector, tensors: Tensors) -> dict[str, Any]:
    encoder = detector.encoder
    if isinstance(encoder, SparseEncoder):
        return _voxel_encoder(encoder, tensors)
    assert isinstance(encoder, PillarFeatureNet)
    return _pillar_encoder(encoder, tensors)


def _pillar_encoder(net: PillarFeatureNet, tensors: Tensors) -> dict[str, Any]:
    for number, layer in enumerate(net.hidden):
        assert isinstance(layer, PointLayer)
        _fold_linear(layer.linear, layer.norm, f"encoder.hidden.{number}", tensors)
    _fold_linear(net.linear, net.norm, "encoder", tensors)
    return {
        "kind": "pillars",
        "hidden": len(net.hidden),
        "height": net.height,
        "centre_axes": net.centre_axes,
        "empty_slots": net.empty_slots,
    }


def _fold_linear(linear: nn.Linear, norm: BatchNorm, name: str, tensors: Tensors) -> None:
    """Weight (C, F) and bias (C,) of a linear map without bias and the norm after it."""
    layer: Any = norm
    scale = layer.weight.double() * torch.rsqrt(layer.running_var.double() + layer.eps)  # (C,)
    tensors[f"{name}.weight"] = linear.weight.double() * scale[:, None]
    tensors[f"{name}.bias"] = layer.bias.double() - layer.running_mean.double() * scale


def _voxel_encoder(net: SparseEncoder, tensors: Tensors) -> dict[str, Any]:
    downs: list[Any] = [net.first[0], *net.down]
    sames: list[Any] = [net.first[1:], *net.same]
    layers = []
    for number, (down, same) in enumerate(zip(downs, sames, strict=True)):
        pairs = ([one.first, one.second] if isinstance(one, ResidualBlock) else [one] for one in same)
        blocks = [down, *chain.from_iterable(pairs)]
        for layer, block in enumerate(blocks):
            _fold(block, f"encoder.stages.{number}.{layer}", tensors)
        layers.append(len(blocks))
    _fold(net.height, "encoder.height", tensors)
    return {"kind": "voxels", "lift": LIFT, "levels": net.levels, "residual": net.residual, "layers": layers}


def _bev(detector: BevDetector, tensors: Tensors) -> dict[str, Any]:
    network: Any = detector.bev
    for number, stage in enumerate(network.backbone):
        for layer, block in enumerate(stage):
            _fold(block, f"stages.{number}.{layer}", tensors)
    groups = detector.encoder.groups()
    if groups is not None:  # channels that stack levels of height: in the file one level after the other
        tensors["stages.0.0.weight"] = tensors["stages.0.0.weight"][:, groups.argsort(stable=True)]
    neck = network.neck
    if isinstance(neck, SparseFpn):
        blocks: Any = zip(neck.laterals, neck.outputs, strict=True)
        for number, (lateral, output) in enumerate(blocks):
            _fold(lateral, f"neck.{number}.lateral", tensors)
            _fold(output, f"neck.{number}.output", tensors)
    else:
        for number, block in enumerate(neck):
            _fold(block, f"neck.{number}", tensors)
    return {
        "strides": network.strides,
        "layers": [len(stage) for stage in network.backbone],
        "neck_stage": network.neck_stages[0] + 1,
        "fpn": network.fpn,
    }


def _fold(block: ConvBlock, name: str, tensors: Tensors) -> None:
    """Weights (K, C_in, C_out), offsets in MinkowskiEngine's order, and bias (C_out,) of a block with its norm; of a
    kernel of one place (C_in, C_out)."""
    norm: Any = block.norm
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)  # (C_out,)
    kernel = block.convolution.kernel.double()
    tensors[f"{name}.weight"] = kernel * scale
    tensors[f"{name}.bias"] = norm.bias.double() - norm.running_mean.double() * scale


def _head(detector: BevDetector, tensors: Tensors) -> dict[str, Any]:
    if isinstance(detector, CenterDetector):
        return _center_head(detector, tensors)
    assert isinstance(detector, AnchorDetector)
    return _anchor_head(detector, tensors)


def _anchor_head(detector: AnchorDetector, tensors: Tensors) -> dict[str, Any]:
    head, model = detector.head, detector.config.model
    assert isinstance(model, AnchorDetectorConfig)
    score, *others = head.layers()
    for name, layers in (("scores", [score]), ("others", others)):
        tensors[f"head.{name}.weight"] = torch.cat([layer.weight for layer in layers]).t()  # (C, outputs)
        tensors[f"head.{name}.bias"] = torch.cat([layer.bias for layer in layers])
    levels, scales = range(len(detector.bev.neck_stages)), model.head.scales
    every = [scales[min(level, len(scales) - 1)] for level in levels]
    anchors = [
        [
            {"size": [scale * edge for edge in one.size], "z": one.z + (scale - 1) * one.size[2] / 2, "yaw": yaw}
            for one in detector.anchor_kinds
            for yaw in model.head.headings
        ]
        for scale in every
    ]
    return {
        "kind": "anchors",
        "anchors": anchors,
        "places": model.head.places,
        "steps": [_step(detector, level) for level in levels],
        "direction_offset": model.head.direction_offset,
        "velocity": model.head.velocity,
    }


def _center_head(detector: CenterDetector, tensors: Tensors) -> dict[str, Any]:
    head, model = detector.head, detector.config.model
    assert isinstance(model, CenterDetectorConfig)
    _fold(head.shared, "head.shared", tensors)
    tasks: Any = head.branches
    for number, task in enumerate(tasks):
        heat, *others = (task[name] for name in head.branch_names)  # Sequential(block, output) each
        for name, branches in (("heat", [heat]), ("box", others)):
            hidden: list[Tensors] = [{} for _ in branches]
            for branch, parts in zip(branches, hidden, strict=True):
                _fold(branch[0], "own", parts)
            prefix = f"head.tasks.{number}.{name}"
            for part, dimension in (("weight", 2), ("bias", 0)):
                joined = torch.cat([parts[f"own.{part}"] for parts in hidden], dimension)  # (9, C, branches * C)
                tensors[f"{prefix}_hidden.{part}"] = joined
            outputs = [branch[1].convolution for branch in branches]
            tensors[f"{prefix}.weight"] = _side_by_side([output.kernel for output in outputs])
            tensors[f"{prefix}.bias"] = torch.cat([output.bias.view(-1) for output in outputs])
    return {
        "kind": "centres",
        "tasks": detector.tasks,
        "velocity": model.head.velocity,
        "iou": model.head.iou,
        "rectifier": model.head.rectifier,
    }


def _side_by_side(kernels: list[Tensor]) -> Tensor:
    """Kernels (K, C_in, C_out) joined to (K, sum of C_in, sum of C_out), each on its own channels."""
    return torch.stack([torch.block_diag(*(kernel[k] for kernel in kernels)) for k in range(len(kernels[0]))])


def _step(detector: BevDetector, level: int) -> list[float]:
    """The distances [m] along x and y between anchors of a level that are spread over the range with both ends
    included, in float32."""
    bounds, size = torch.tensor(detector.config.data.range), torch.tensor(detector.settings.voxel_size)
    bev = detector.bev
    edge = size[:2] * (detector.encoder.stride * bev.strides[0] * bev.factors[bev.neck_stages[level]])
    length = bounds[3:5] - bounds[:2]
    return (length / ((length / edge).round() - 1)).nan_to_num(posinf=0.0).tolist()


def _suppression(detector: BevDetector) -> dict[str, Any]:
    nms = detector.config.model.nms
    by_task = isinstance(nms, CenterNMSConfig)
    return {
        "score": nms.score,
        "iou": nms.iou,
        "radius": nms.radius if isinstance(nms, CenterNMSConfig) and nms.kind == "circle" else None,
        "before": min(nms.before, _MOST),
        "after": nms.after,
        "group_limit": by_task,
    }
