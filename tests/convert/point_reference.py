"""PointRCNN once more in plain torch: modules under the frameworks' own names, and a forward pass that searches, groups
and pools by brute force in their layout (B, C, points, neighbours)."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

PUBLISHED = Path(__file__).resolve().parents[2] / "configs" / "published"
SIZES = torch.tensor([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]])


@dataclass
class Shape:
    """points kept, radii [m], neighbours and channels of each scale: of the stages of both networks."""

    down: list[tuple[int, list[float], int, list[list[int]]]]
    up: list[list[int]]
    hidden: list[int]
    lift: list[int]
    regions: list[tuple[int, list[float], int, list[list[int]]]]
    region_hidden: list[int]
    region_points: int


SHAPE = Shape(
    down=[(64, [0.8, 2.0], 8, [[6, 8, 10], [7, 9]]), (16, [2.0, 5.0], 8, [[12, 14], [12, 15]])],
    up=[[20, 18], [17, 16]],
    hidden=[14, 12],
    lift=[11, 16],
    regions=[(12, [0.6], 8, [[18, 20]]), (0, [100.0], 8, [[22, 24]])],
    region_hidden=[13, 15],
    region_points=24,
)


class Reference(nn.Module):
    """Common to both frameworks: the forward pass. A subclass makes the modules and says which is which."""

    bottom: bool  # heights in a region count from its bottom
    down: list[list[nn.Module]]
    up: list[nn.Module]
    score: nn.Module
    box: nn.Module
    lift: nn.Module
    merge: nn.Module
    regions: list[nn.Module]
    region_score: nn.Module
    region_box: nn.Module

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def first_stage(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """points (N, 4) -> features (N, C), logits (N, classes), codes (N, 8)."""
        xyz, features = [points[:, :3]], [points[:, 3:].t()]  # (N, 3), (1, N)
        for (count, radii, neighbours, _), scales in zip(self.shape.down, self.down, strict=True):
            centres = xyz[-1][farthest(xyz[-1], count)]
            parts = []
            for radius, scale in zip(radii, scales, strict=True):
                rows = ball(xyz[-1], centres, radius, neighbours)  # (M, K)
                offsets = (xyz[-1][rows] - centres[:, None]).permute(2, 0, 1)  # (3, M, K)
                grouped = torch.cat([offsets, features[-1][:, rows]])[None]  # (1, 3 + C, M, K)
                parts.append(scale(grouped).amax(dim=3)[0])  # (C', M)
            xyz.append(centres)
            features.append(torch.cat(parts))
        x = features[-1]
        for level, step in zip(range(len(self.up) - 1, -1, -1), self.up, strict=True):
            x = step(torch.cat([spread(x, xyz[level + 1], xyz[level]), features[level]])[None, :, :, None])[0, :, :, 0]
        rows = x.t()
        return rows, self.score(rows), self.box(rows)

    def second_stage(self, points: Tensor, features: Tensor, logits: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """regions (R, 7) -> logits (R,), codes (R, 7)."""
        pooled = torch.stack([self.pool(points, features, logits, region) for region in regions])  # (R, P, 5 + C)
        x = pooled.transpose(1, 2)[..., None]  # (R, 5 + C, P, 1)
        x = self.merge(torch.cat([self.lift(x[:, :5]), x[:, 5:]], dim=1))[..., 0]  # (R, C, P)
        outputs = []
        for xyz, values in zip(pooled[..., :3], x, strict=True):
            for (count, radii, neighbours, _), stage in zip(self.shape.regions, self.regions, strict=True):
                if count == 0:
                    grouped = torch.cat([xyz.t(), values])[None, :, None]  # (1, 3 + C, 1, N)
                else:
                    centres = xyz[farthest(xyz, count)]
                    rows = ball(xyz, centres, radii[0], neighbours)
                    offsets = (xyz[rows] - centres[:, None]).permute(2, 0, 1)
                    grouped, xyz = torch.cat([offsets, values[:, rows]])[None], centres
                values = stage(grouped).amax(dim=3)[0]
            outputs.append(values)  # (C', 1)
        shared = torch.stack(outputs)  # (R, C', 1)
        return self.region_score(shared)[:, 0, 0], self.region_box(shared)[:, :, 0]

    def pool(self, points: Tensor, features: Tensor, logits: Tensor, region: Tensor) -> Tensor:
        """The points (P, 5 + C) of one region, seen from it."""
        local = turned(points[:, :3] - region[:3], -region[6])
        inside = torch.nonzero((local.abs() <= region[3:6] / 2).all(dim=1))[:, 0]
        count = self.shape.region_points
        if len(inside) == 0:
            return torch.zeros(count, 5 + features.shape[1])
        rows = inside[torch.arange(count) % min(len(inside), count)]
        if self.bottom:
            local = local + torch.tensor([0, 0, 1]) * region[5] / 2
        extra = torch.stack([logits.sigmoid().amax(dim=1), points[:, :3].norm(dim=1) / 70 - 0.5], dim=1)
        return torch.cat([local, extra, features], dim=1)[rows]


class Mmdet3d(Reference):
    bottom = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.backbone, self.neck, self.roi_head = nn.Module(), nn.Module(), nn.Module()
        self.down, self.backbone.SA_modules = _stages(shape.down, 1, lambda c: _named(c, 1e-3, bias=True))
        channels = [1, *(sum(scale[-1] for scale in scales) for *_, scales in shape.down)]
        self.up, self.neck.FP_modules = [], nn.ModuleList()
        for own in _propagations(channels, shape.up):
            step = nn.Module()
            step.mlps = _named(own, 1e-5, bias=False)
            self.neck.FP_modules.append(step)
            self.up.append(step.mlps)
        self.rpn_head = nn.Module()
        out = shape.up[-1][-1]
        self.score = self.rpn_head.cls_layers = _linear([out, *shape.hidden, 3])
        self.box = self.rpn_head.reg_layers = _linear([out, *shape.hidden, 8])
        second = self.roi_head.bbox_head = nn.Module()
        self.lift = second.xyz_up_layer = nn.Sequential(*(_conv_relu(a, b) for a, b in pairwise([5, *shape.lift])))
        self.merge = second.merge_down_layer = _conv_relu(2 * shape.lift[-1], shape.lift[-1])
        scales, second.SA_modules = _stages(shape.regions, shape.lift[-1], lambda c: _named(c, 1e-5, bias=False))
        self.regions = [own for (own,) in scales]
        wide = [shape.regions[-1][3][0][-1], *shape.region_hidden]
        second.cls_convs, second.reg_convs = (_named(wide, 1e-5, bias=False, kind=1) for _ in range(2))
        second.conv_cls, second.conv_reg = (nn.Conv1d(wide[-1], n, 1) for n in (1, 7))
        self.region_score = nn.Sequential(second.cls_convs, second.conv_cls)
        self.region_box = nn.Sequential(second.reg_convs, second.conv_reg)


class Openpcdet(Reference):
    bottom = False

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.backbone_3d, self.point_head, self.roi_head = nn.Module(), nn.Module(), nn.Module()
        self.register_buffer("global_step", torch.zeros(1, dtype=torch.int64))
        self.down, self.backbone_3d.SA_modules = _stages(shape.down, 1, _numbered)
        channels = [1, *(sum(scale[-1] for scale in scales) for *_, scales in shape.down)]
        steps = []
        for own in _propagations(channels, shape.up):
            step = nn.Module()
            step.mlp = _numbered(own)
            steps.append(step)
        self.backbone_3d.FP_modules = nn.ModuleList(reversed(steps))
        self.up = [step.mlp for step in steps]
        out = shape.up[-1][-1]
        self.score = self.point_head.cls_layers = _linear([out, *shape.hidden, 3])
        self.box = self.point_head.box_layers = _linear([out, *shape.hidden, 8])
        second, lift = self.roi_head, nn.Sequential()
        for a, b in pairwise([5, *shape.lift]):
            lift.extend([nn.Conv2d(a, b, 1), nn.ReLU()])
        self.lift = second.xyz_up_layer = lift
        merge = nn.Sequential(nn.Conv2d(2 * shape.lift[-1], shape.lift[-1], 1), nn.ReLU())
        self.merge = second.merge_down_layer = merge
        scales, second.SA_modules = _stages(shape.regions, shape.lift[-1], _numbered)
        self.regions = [own for (own,) in scales]
        wide = [shape.regions[-1][3][0][-1], *shape.region_hidden]
        self.region_score = second.cls_layers = _with_dropout(wide, 1)
        self.region_box = second.reg_layers = _with_dropout(wide, 7)


KINDS = {"openpcdet": Openpcdet, "mmdet3d": Mmdet3d}


def small_config(kind: str, file: Path, **model: object) -> Path:
    """Write the published configuration with the widths of SHAPE to ``file``."""

    def stages(shape: list) -> list[dict]:
        names = ("points", "radii", "neighbours", "channels")
        rows = [(points, radii, [k] * len(radii), channels) for points, radii, k, channels in shape]
        return [dict(zip(names, row, strict=True)) for row in rows]

    roi = {"points": 24, "channels": SHAPE.lift, "stages": stages(SHAPE.regions), "head_channels": SHAPE.region_hidden}
    own = {"points": 256, "stages": stages(SHAPE.down), "propagation": SHAPE.up, "head_channels": SHAPE.hidden}
    model = {**own, "proposals": {"test": 24}, **model, "roi": roi | model.get("roi", {})}  # type: ignore[operator]
    file.write_text(yaml.safe_dump({"base": str(PUBLISHED / f"{kind}_pointrcnn.yaml"), "model": model}))
    return file


def state_dict(reference: Reference) -> dict[str, Tensor]:
    """What the framework would save: the aliases by which the forward pass finds its modules are left out."""
    first = ("backbone", "neck", "rpn_head", "roi_head", "point_head", "global_step")
    return {name: value for name, value in reference.state_dict().items() if name.startswith(first)}


@torch.no_grad()
def scramble(reference: Reference) -> None:
    """Make every entry matter: norms with statistics, variances small enough to show epsilon, and all biases."""
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.05, 0.5)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and module.bias is not None:
            module.bias.normal_(0, 0.3)


def decode_points(codes: Tensor, xyz: Tensor, labels: Tensor) -> Tensor:
    """Boxes (N, 7) of the first stage: x, y over the mean size's diagonal, z over its height, log sizes, cos, sin."""
    length, width, height = SIZES[labels].unbind(dim=1)
    diagonal = (length**2 + width**2).sqrt()
    x, y, z, dl, dw, dh, cos, sin = codes.unbind(dim=1)
    centre = [xyz[:, 0] + x * diagonal, xyz[:, 1] + y * diagonal, xyz[:, 2] + z * height]
    sizes = [length * dl.exp(), width * dw.exp(), height * dh.exp()]
    return torch.stack([*centre, *sizes, torch.atan2(sin, cos)], dim=1)


def decode_regions(codes: Tensor, regions: Tensor, bottom: bool) -> Tensor:
    """Boxes (R, 7) of the second stage. From the bottom: z of both is there until the end."""
    length, width, high = regions[:, 3:6].unbind(dim=1)
    diagonal = (length**2 + width**2).sqrt()
    height = high * codes[:, 5].exp()
    z = codes[:, 2] * high
    origin = regions[:, :3].clone()
    if bottom:
        z = z + high / 2 - height / 2
        origin[:, 2] -= high / 2
    local = torch.stack([codes[:, 0] * diagonal, codes[:, 1] * diagonal, z], dim=1)
    centre = torch.stack([turned(p, yaw) for p, yaw in zip(local, regions[:, 6], strict=True)]) + origin
    if bottom:
        centre[:, 2] += height / 2
    sizes = [length * codes[:, 3].exp(), width * codes[:, 4].exp(), height]
    return torch.cat([centre, torch.stack([*sizes, regions[:, 6] + codes[:, 6]], dim=1)], dim=1)


def turned(xyz: Tensor, yaw: Tensor) -> Tensor:
    matrix = torch.stack([yaw.cos(), -yaw.sin(), yaw.sin(), yaw.cos()]).view(2, 2)
    return torch.cat([xyz[..., :2] @ matrix.t(), xyz[..., 2:]], dim=-1)


def farthest(xyz: Tensor, count: int) -> Tensor:
    chosen = [0]
    distance = torch.full((len(xyz),), torch.inf, dtype=torch.float64)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (xyz.double() - xyz[chosen[-1]].double()).square().sum(dim=1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen)


def ball(xyz: Tensor, centres: Tensor, radius: float, count: int) -> Tensor:
    """The first ``count`` rows within a radius of each centre, the first of them repeated to fill up."""
    near = (centres.double()[:, None] - xyz.double()).square().sum(dim=2) < radius * radius
    rows = torch.zeros(len(centres), count, dtype=torch.int64)
    for row, inside in zip(rows, near, strict=True):
        here = torch.nonzero(inside)[:count, 0]
        row[:] = here[0] if len(here) else 0
        row[: len(here)] = here
    return rows


def spread(x: Tensor, known: Tensor, places: Tensor) -> Tensor:
    """Features (C, M) of known points interpolated to places (N, 3), by the inverse distance of the nearest three."""
    nearest = torch.cdist(places.double(), known.double()).topk(3, largest=False)
    weights = 1 / (nearest.values + 1e-8)
    weights = (weights / weights.sum(dim=1, keepdim=True)).float()
    return (x[:, nearest.indices] * weights).sum(dim=2)


def _stages(stages, channels, make):  # type: ignore[no-untyped-def]
    """Set abstractions: their scales, and the module list that holds them."""
    scales, modules = [], nn.ModuleList()
    for *_, widths in stages:
        own = [make([3 + channels, *scale]) for scale in widths]
        stage = nn.Module()
        stage.mlps = nn.ModuleList(own)
        modules.append(stage)
        scales.append(own)
        channels = sum(scale[-1] for scale in widths)
    return scales, modules


def _propagations(levels: list[int], up: list[list[int]]) -> list[list[int]]:
    """Channels of each propagation, from the coarsest level on; levels: channels from all points to the coarsest."""
    result, coarse = [], levels[-1]
    for skip, own in zip(reversed(levels[:-1]), up, strict=True):
        result.append([coarse + skip, *own])
        coarse = own[-1]
    return result


def _named(channels: list[int], epsilon: float, bias: bool, kind: int = 2) -> nn.Sequential:
    layers = OrderedDict()
    convolution, norm = (nn.Conv1d, nn.BatchNorm1d) if kind == 1 else (nn.Conv2d, nn.BatchNorm2d)
    for k, (a, b) in enumerate(pairwise(channels)):
        parts = {"conv": convolution(a, b, 1, bias=bias), "bn": norm(b, eps=epsilon), "act": nn.ReLU()}
        layers[f"layer{k}"] = nn.Sequential(OrderedDict(parts))
    return nn.Sequential(layers)


def _numbered(channels: list[int]) -> nn.Sequential:
    layers = nn.Sequential()
    for a, b in pairwise(channels):
        layers.extend([nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()])
    return layers


def _with_dropout(channels: list[int], out: int) -> nn.Sequential:
    layers = nn.Sequential()
    for k, (a, b) in enumerate(pairwise(channels)):
        layers.extend([nn.Conv1d(a, b, 1, bias=False), nn.BatchNorm1d(b), nn.ReLU()])
        if k == 0:
            layers.append(nn.Dropout(0.0))
    return layers.append(nn.Conv1d(channels[-1], out, 1))


def _conv_relu(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, out, 1), act=nn.ReLU()))


def _linear(channels: list[int]) -> nn.Sequential:
    *hidden, last = channels
    layers = nn.Sequential()
    for a, b in pairwise(hidden):
        layers.extend([nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU()])
    return layers.append(nn.Linear(hidden[-1], last))
