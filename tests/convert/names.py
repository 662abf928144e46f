"""Checkpoints of other frameworks in miniature, with the names and shapes that the frameworks give them."""

from itertools import pairwise

import torch
from torch import Tensor


def norm(name: str, channels: int) -> dict[str, Tensor]:
    values = {"weight": torch.rand(channels) + 0.5, "bias": torch.randn(channels)}
    values |= {"running_mean": torch.randn(channels), "running_var": torch.rand(channels) + 0.5}
    return {f"{name}.{key}": value for key, value in values.items()} | {f"{name}.num_batches_tracked": torch.tensor(7)}


def bev(channels: list[int], layers: list[int], factors: list[int], out: int, anchors: int) -> dict[str, Tensor]:
    """OpenPCDet's backbone_2d and dense_head for three classes."""
    result: dict[str, Tensor] = {}
    for stage, (c_in, c_out) in enumerate(pairwise(channels)):
        for layer in range(1 + layers[stage]):
            name = f"backbone_2d.blocks.{stage}"
            result[f"{name}.{3 * layer + 1}.weight"] = torch.randn(c_out, c_out if layer else c_in, 3, 3)
            result |= norm(f"{name}.{3 * layer + 2}", c_out)
        factor = factors[stage]
        result[f"backbone_2d.deblocks.{stage}.0.weight"] = torch.randn(c_out, out, factor, factor)
        result |= norm(f"backbone_2d.deblocks.{stage}.1", out)
    for name, each in (("conv_cls", 3), ("conv_box", 7), ("conv_dir_cls", 2)):
        result[f"dense_head.{name}.weight"] = torch.randn(anchors * each, out * len(layers), 1, 1)
        result[f"dense_head.{name}.bias"] = torch.randn(anchors * each)
    return result | {"global_step": torch.tensor([3])}


def second(encoder: list[int], channels: list[int], layers: list[int], out: int) -> dict[str, Tensor]:
    """OpenPCDet's SECOND as spconv 2 stores it: (out, z, y, x, in)."""
    one, *others, last = encoder
    result = {}
    blocks = [("conv_input", 4, one, (3, 3, 3)), ("conv1.0", one, one, (3, 3, 3))]
    for stage, (c_in, c_out) in enumerate(zip(encoder, others, strict=False)):
        blocks += [(f"conv{stage + 2}.{i}", c_out if i else c_in, c_out, (3, 3, 3)) for i in range(3)]
    blocks.append(("conv_out", others[-1], last, (3, 1, 1)))
    for name, c_in, c_out, kernel in blocks:
        result[f"backbone_3d.{name}.0.weight"] = torch.randn(c_out, *kernel, c_in)
        result |= norm(f"backbone_3d.{name}.1", c_out)
    return result | bev([2 * last, *channels], layers, [1, 2], out, 6)


def pointpillars(pillar: int, channels: list[int], layers: list[int], out: int) -> dict[str, Tensor]:
    """OpenPCDet's PointPillars."""
    result = {"vfe.pfn_layers.0.linear.weight": torch.randn(pillar, 10)} | norm("vfe.pfn_layers.0.norm", pillar)
    return result | bev([pillar, *channels], layers, [1, 2, 4], out, 6)
