"""How OpenPCDet and MMDetection3D name the layers of PointRCNN."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mink_pd.convert.bev_names import Names
from mink_pd.models.detectors.pointrcnn import PointRCNN


@dataclass(frozen=True)
class PointNames:
    """Names of the parts; both frameworks write the same network, and configs/published has what differs beyond names.

    numbered: a layer is its place in a sequence of convolution, norm and ReLU, else a module with a ``conv`` and a
    ``bn``. finest_first: the last propagation is number 0. first_stage: the two branches of its head, numbered in both
    frameworks. biased: convolutions of the backbone have a bias before the norm. second_stage: all of it; within it:
    lift, the layers that lift local coordinates, whose numbers go by lift_step; merge, the layer that follows; heads,
    the hidden layers of each branch and its last one. dropout: takes a number after the first layer of a branch there.
    """

    down: str
    up: str
    numbered: bool
    finest_first: bool
    first_stage: tuple[str, str]
    biased: bool
    second_stage: str
    lift: str
    lift_step: int
    merge: str
    heads: tuple[tuple[str, str], tuple[str, str]]
    dropout: bool

    def modules(self, detector: PointRCNN) -> Names:
        """Names of every module with weights: theirs, ours."""
        backbone, regions, second = detector.backbone, detector.regions, self.second_stage
        yield from self._stages(self.down, "backbone.down", backbone.down)
        for i, step in enumerate(backbone.up):
            number = len(backbone.up) - 1 - i if self.finest_first else i
            yield from self._layers(self.up.format(number), _first_and_rest(f"backbone.up.{i}", step))
        for theirs, branch in zip(self.first_stage, ("score", "box"), strict=True):
            hidden = _hidden(f"head.{branch}", getattr(detector.head, branch))
            yield from _numbered(theirs, hidden)
            yield f"{theirs}.{3 * len(hidden)}", f"head.{branch}.1"
        for k in range(len(regions.lift)):
            yield f"{second}.{self.lift.format(k * self.lift_step)}", f"regions.lift.{k}"
        yield f"{second}.{self.merge}", "regions.merge"
        yield from self._stages(f"{second}.SA_modules", "regions.stages", regions.stages)
        for (theirs, last), branch in zip(self.heads, ("score", "box"), strict=True):
            hidden = _hidden(f"regions.head.{branch}", getattr(regions.head, branch))
            yield from self._layers(f"{second}.{theirs}", hidden, self.dropout)
            yield f"{second}.{last.format(3 * len(hidden) + self.dropout)}", f"regions.head.{branch}.1"

    def biases(self, detector: PointRCNN) -> Names:
        """Their biases right before a norm, which ours have not, and the running mean that they are taken from."""
        if self.biased:
            for theirs, ours in self.modules(detector):
                if ours.startswith("backbone.down.") and not ours.endswith(".norm"):
                    yield f"{theirs}.bias", f"{ours}.norm.running_mean"

    def _stages(self, theirs: str, ours: str, stages: Any) -> Names:
        for i, stage in enumerate(stages):
            for j, scale in enumerate(stage.mlps):
                name = f"{ours}.{i}.mlps.{j}"
                yield from self._layers(f"{theirs}.{i}.mlps.{j}", _first_and_rest(name, scale))

    def _layers(self, theirs: str, layers: Sequence[str], dropout: bool = False) -> Names:
        if self.numbered:
            yield from _numbered(theirs, layers, dropout)
            return
        for k, ours in enumerate(layers):
            yield f"{theirs}.layer{k}.conv", ours
            yield f"{theirs}.layer{k}.bn", f"{ours}.norm"


def _numbered(theirs: str, layers: Sequence[str], dropout: bool = False) -> Names:
    for k, ours in enumerate(layers):
        number = 3 * k + (dropout and k > 0)
        yield f"{theirs}.{number}", ours
        yield f"{theirs}.{number + 1}", f"{ours}.norm"


def _first_and_rest(name: str, part: Any) -> list[str]:
    return [f"{name}.first", *(f"{name}.rest.{k}" for k in range(len(part.rest)))]


def _hidden(name: str, branch: Any) -> list[str]:
    return [f"{name}.0.{k}" for k in range(len(branch[0]))]


OPENPCDET = PointNames(
    down="backbone_3d.SA_modules",
    up="backbone_3d.FP_modules.{}.mlp",
    numbered=True,
    finest_first=True,
    first_stage=("point_head.cls_layers", "point_head.box_layers"),
    biased=False,
    second_stage="roi_head",
    lift="xyz_up_layer.{}",
    lift_step=2,  # a ReLU takes a number
    merge="merge_down_layer.0",
    heads=(("cls_layers", "cls_layers.{}"), ("reg_layers", "reg_layers.{}")),
    dropout=True,
)
MMDET3D = PointNames(
    down="backbone.SA_modules",
    up="neck.FP_modules.{}.mlps",
    numbered=False,
    finest_first=False,
    first_stage=("rpn_head.cls_layers", "rpn_head.reg_layers"),
    biased=True,
    second_stage="roi_head.bbox_head",
    lift="xyz_up_layer.{}.conv",
    lift_step=1,
    merge="merge_down_layer.conv",
    heads=(("cls_convs", "conv_cls"), ("reg_convs", "conv_reg")),
    dropout=False,
)
