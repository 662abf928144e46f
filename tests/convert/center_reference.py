"""CenterPoint as three frameworks write it, with the names that their sources give the modules, in plain torch.

Only what follows from the sources (tianweiy/CenterPoint, open-mmlab/OpenPCDet, open-mmlab/mmdetection3d): the names,
the order of layers, and what numbers go in and out.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

TASKS = [["car"], ["truck", "construction_vehicle"]]
CLASSES = ["car", "truck", "construction_vehicle"]
VOXEL, LOW = 0.8, -6.4  # pillars of a grid of 16 x 16
BRANCHES = {
    "det3d": {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "hm": 0},
    "openpcdet": {"center": 2, "center_z": 1, "dim": 3, "rot": 2, "vel": 2, "hm": 0},
    "mmdet3d": {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "heatmap": 0},
}


@dataclass
class Parts:
    """Modules by what they are for."""

    pillars: list[tuple[nn.Linear, nn.Module]] = field(default_factory=list)
    stages: list[list[tuple[nn.Module, nn.Module]]] = field(default_factory=list)
    neck: list[tuple[nn.Module, nn.Module]] = field(default_factory=list)
    shared: tuple[nn.Module, nn.Module] | None = None
    branches: list[dict[str, tuple[nn.Module, nn.Module, nn.Module]]] = field(default_factory=list)


def place(root: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put a module into a tree under a dotted name."""
    *parents, last = name.split(".")
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]  # type: ignore[assignment]
    root.add_module(last, module)
    return module


def norm(channels: int, dimension: int = 2, eps: float = 1e-5) -> nn.Module:
    layer = (nn.BatchNorm1d if dimension == 1 else nn.BatchNorm2d)(channels, eps=eps)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    nn.init.normal_(layer.bias)
    nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return layer


class Published(nn.Module):
    """A network on pillars, stages of strides 2, 2, 2 and a neck at the second one's."""

    def __init__(self, framework: str, pillars: list[int], channels: list[int], neck: int, head: int) -> None:
        super().__init__()
        self.framework, self.parts = framework, Parts()
        features = {"det3d": 10, "openpcdet": 11, "mmdet3d": 11}[framework]
        reader = {"det3d": "reader", "openpcdet": "vfe", "mmdet3d": "pts_voxel_encoder"}[framework]
        for number, width in enumerate(pillars):
            last, name = number == len(pillars) - 1, f"{reader}.pfn_layers.{number}"
            linear = nn.Linear(features, width if last else width // 2, bias=False)
            place(self, f"{name}.linear", linear)
            self.parts.pillars.append((linear, place(self, f"{name}.norm", norm(linear.out_features, 1, 1e-3))))
            features = width
        self._bev([pillars[-1], *channels], neck)
        self._head(neck * len(channels), head)

    def _bev(self, channels: list[int], out: int) -> None:
        blocks, ups, first = {
            "det3d": ("neck.blocks", "neck.deblocks", 1),
            "openpcdet": ("backbone_2d.blocks", "backbone_2d.deblocks", 1),
            "mmdet3d": ("pts_backbone.blocks", "pts_neck.deblocks", 0),
        }[self.framework]
        for stage, (c_in, c_out) in enumerate(pairwise(channels)):
            layers = []
            for index in range(2):
                conv = nn.Conv2d(c_out if index else c_in, c_out, 3, 1 if index else 2, padding=1, bias=False)
                number = first + 3 * index
                place(self, f"{blocks}.{stage}.{number}", conv)
                layers.append((conv, place(self, f"{blocks}.{stage}.{number + 1}", norm(c_out, eps=1e-3))))
            self.parts.stages.append(layers)
            up: nn.Module = nn.Conv2d(c_out, out, 2, 2, bias=False)
            if stage == 2 or (stage == 1 and self.framework == "openpcdet"):
                up = nn.ConvTranspose2d(c_out, out, stage, stage, bias=False)
            elif stage == 1:
                up = nn.Conv2d(c_out, out, 1, bias=False)
            place(self, f"{ups}.{stage}.0", up)
            self.parts.neck.append((up, place(self, f"{ups}.{stage}.1", norm(out, eps=1e-3))))

    def _head(self, channels: int, width: int) -> None:
        conv, bn, task_name, layers, biased = {
            "det3d": ("bbox_head.shared_conv.0", "bbox_head.shared_conv.1", "bbox_head.tasks", ("0", "1", "3"), True),
            "openpcdet": ("dense_head.shared_conv.0", "dense_head.shared_conv.1", "dense_head.heads_list",
                          ("0.0", "0.1", "1"), True),
            "mmdet3d": ("pts_bbox_head.shared_conv.conv", "pts_bbox_head.shared_conv.bn", "pts_bbox_head.task_heads",
                        ("0.conv", "0.bn", "1"), False),
        }[self.framework]  # fmt: skip
        shared = nn.Conv2d(channels, width, 3, padding=1, bias=biased)
        self.parts.shared = place(self, conv, shared), place(self, bn, norm(width))
        for task, classes in enumerate(TASKS):
            made = {}
            for branch, out in BRANCHES[self.framework].items():
                name = f"{task_name}.{task}.{branch}"
                made[branch] = (
                    place(self, f"{name}.{layers[0]}", nn.Conv2d(width, width, 3, padding=1, bias=biased)),
                    place(self, f"{name}.{layers[1]}", norm(width)),
                    place(self, f"{name}.{layers[2]}", nn.Conv2d(width, out or len(classes), 3, padding=1)),
                )
            self.parts.branches.append(made)

    def forward(self, points: Tensor) -> list[dict[str, Tensor]]:
        """Boxes of each task in LiDAR coordinates (y, x, 7), scores (y, x, classes) and velocities (y, x, 2).

        points: (P, 5), intensity 0..255.
        """
        x = self.canvas(points)
        ups = []
        for layers, (up, up_norm) in zip(self.parts.stages, self.parts.neck, strict=True):
            for conv, bn in layers:
                x = bn(conv(x)).relu()
            ups.append(up_norm(up(x)).relu())
        x = torch.cat(ups, dim=1)
        assert self.parts.shared is not None
        conv, bn = self.parts.shared
        x = bn(conv(x)).relu()
        tasks = []
        for branches in self.parts.branches:
            said = {name: last(bn(conv(x)).relu())[0].permute(1, 2, 0) for name, (conv, bn, last) in branches.items()}
            tasks.append(self.decode(said))
        return tasks

    def canvas(self, points: Tensor) -> Tensor:
        """Pillar by pillar and slot by slot: 20 slots, empty ones zeros, but for OpenPCDet's dynamic pillars."""
        cells = torch.floor((points[:, :2] - LOW) / VOXEL).long()
        image = torch.zeros(1, self.parts.pillars[-1][0].out_features, 16, 16)
        for column, row in {tuple(c) for c in cells.tolist()}:
            inside = points[(cells == torch.tensor([column, row])).all(dim=1)]
            centre = torch.tensor([LOW + (column + 0.5) * VOXEL, LOW + (row + 0.5) * VOXEL, -1.0])
            if self.framework != "openpcdet":
                inside = inside[:20]
            offset = inside[:, :3] - centre
            offset = offset[:, :2] if self.framework == "det3d" else offset
            x = torch.cat([inside, inside[:, :3] - inside[:, :3].mean(dim=0), offset], dim=1)
            if self.framework != "openpcdet":
                x = nn.functional.pad(x, (0, 0, 0, 20 - len(x)))
            for number, (linear, bn) in enumerate(self.parts.pillars):
                x = bn(linear(x)).relu()
                if number < len(self.parts.pillars) - 1:
                    x = torch.cat([x, x.amax(dim=0).expand_as(x)], dim=1)
            image[0, :, row, column] = x.amax(dim=0)
        return image

    def decode(self, said: dict[str, Tensor]) -> dict[str, Tensor]:
        rows, columns = said["dim"].shape[:2]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        offset = said["reg" if "reg" in said else "center"]
        height = said["height" if "height" in said else "center_z"]
        cell = 4 * VOXEL
        size, rot = said["dim"].exp(), said["rot"]
        if self.framework == "det3d":  # sizes are w, l, h; the angle is -yaw - pi / 2
            size, yaw = size[..., [1, 0, 2]], -torch.atan2(rot[..., 0], rot[..., 1]) - torch.pi / 2
        elif self.framework == "openpcdet":
            yaw = torch.atan2(rot[..., 1], rot[..., 0])
        else:
            yaw = torch.atan2(rot[..., 0], rot[..., 1])
        place_x, place_y = (x + offset[..., 0]) * cell + LOW, (y + offset[..., 1]) * cell + LOW
        boxes = torch.cat([place_x[..., None], place_y[..., None], height, size, yaw[..., None]], dim=2)
        return {
            "boxes": boxes,
            "scores": said["hm" if "hm" in said else "heatmap"].sigmoid(),
            "velocities": said["vel"],
        }


def residual_encoder(framework: str, channels: list[int]) -> dict[str, Tensor]:
    """Names and shapes of the residual sparse encoder, kernels as spconv 1 stores them: (z, y, x, in, out)."""
    result: dict[str, Tensor] = {}

    def conv(name: str, c_in: int, c_out: int, kernel: tuple[int, ...] = (3, 3, 3), bias: bool = False) -> None:
        result[f"{name}.weight"] = torch.randn(*kernel, c_in, c_out)
        if bias:
            result[f"{name}.bias"] = torch.randn(c_out)

    def bn(name: str, c: int) -> None:
        result.update({f"{name}.{key}": value for key, value in norm(c, 1).state_dict().items()})

    root = {"det3d": "backbone", "openpcdet": "backbone_3d", "mmdet3d": "pts_middle_encoder"}[framework]
    conv(f"{root}.conv_input.0", 5, channels[0])
    bn(f"{root}.conv_input.1", channels[0])
    for stage, width in enumerate(channels[:4], start=1):
        for block in range(2):
            name = {
                "det3d": f"{root}.conv{stage}.{block + (3 if stage > 1 else 0)}",
                "openpcdet": f"{root}.conv{stage}.{block + (1 if stage > 1 else 0)}",
                "mmdet3d": f"{root}.encoder_layers.encoder_layer{stage}.{block}",
            }[framework]
            for half in (1, 2):
                conv(f"{name}.conv{half}", width, width, bias=framework != "mmdet3d")
                bn(f"{name}.bn{half}", width)
        if stage < 4:
            name = {
                "det3d": f"{root}.conv{stage + 1}",
                "openpcdet": f"{root}.conv{stage + 1}.0",
                "mmdet3d": f"{root}.encoder_layers.encoder_layer{stage}.2",
            }[framework]
            conv(f"{name}.0", width, channels[stage])
            bn(f"{name}.1", channels[stage])
    out = f"{root}.extra_conv" if framework == "det3d" else f"{root}.conv_out"
    conv(f"{out}.0", channels[3], channels[4], (3, 1, 1))
    bn(f"{out}.1", channels[4])
    return result
