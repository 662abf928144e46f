"""How det3d (CenterPoint's own release), OpenPCDet and MMDetection3D name the layers of CenterPoint, and what their
numbers mean where they are others than ours."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from torch import Tensor

from mink_pd.convert.bev_names import Names, backbone_names, numbered_block, plain_encoder_names
from mink_pd.errors import ConfigError
from mink_pd.models.detectors.centerpoint import CenterDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.models.layers.sparse_encoder import SparseEncoder


@dataclass(frozen=True)
class CenterNames:
    """Names of the parts. A number in braces: 0 the stage, or the task; 1 the branch.

    encoder_input, encoder_out: sequences of convolution and norm; down: that of the strided convolution before stage
    ``{0}`` (2 to 4); residual: the block ``{1}`` (0, 1) of stage ``{0}`` (1 to 4), whose numbers begin at ``second``
    from stage 2 on. plain_stage: the stages of an encoder without residual blocks, None where none is published.
    first: the number of the first convolution in a block of the backbone. convolved: the neck's map at its own stride
    is a convolution, else a transposed one. shared: convolution and norm; branch: of task ``{0}``; layers: within it
    first convolution, norm, last convolution. branches: names by ours.
    size, yaw: which of their channels ours are; yaw_sign: what to multiply them by.
    """

    pillars: str
    encoder_input: str
    encoder_out: str
    down: str
    residual: str
    second: int
    plain_stage: tuple[str, str] | None
    backbone: str
    first: int
    neck: str
    convolved: bool
    shared: tuple[str, str]
    branch: str
    layers: tuple[str, str, str]
    branches: Mapping[str, str]
    size: tuple[int, int, int]
    yaw: tuple[int, int]
    yaw_sign: float

    def modules(self, detector: CenterDetector) -> Names:
        """Names of every module with weights: theirs, ours."""
        encoder = detector.encoder
        if isinstance(encoder, PillarFeatureNet):
            for number in range(len(encoder.hidden)):
                for part in ("linear", "norm"):
                    yield f"{self.pillars}.{number}.{part}", f"encoder.hidden.{number}.{part}"
            for part in ("linear", "norm"):
                yield f"{self.pillars}.{len(encoder.hidden)}.{part}", f"encoder.{part}"
        elif isinstance(encoder, SparseEncoder):
            yield from self._encoder(detector, encoder)
        yield from backbone_names(detector, self.backbone, self.first, self.neck)
        for theirs, ours in zip(self.shared, ("convolution", "norm"), strict=True):
            yield theirs, f"head.shared.{ours}"
        for task in range(len(detector.tasks)):
            for ours, theirs in self.branches.items():
                if ours in detector.head.branch_names:
                    name, own = self.branch.format(task, theirs), f"head.branches.{task}.{ours}"
                    first, norm, last = self.layers
                    yield f"{name}.{first}", f"{own}.0.convolution"
                    yield f"{name}.{norm}", f"{own}.0.norm"
                    yield f"{name}.{last}", f"{own}.1.convolution"

    def _encoder(self, detector: CenterDetector, encoder: SparseEncoder) -> Names:
        if not encoder.residual:
            if self.plain_stage is None:
                raise ConfigError("model.residual: this framework publishes CenterPoint with residual=true; set that")
            yield from plain_encoder_names(encoder, *self.plain_stage)
            return
        yield from numbered_block(self.encoder_input, "encoder.first.0")
        for stage in range(1, 5):
            ours = f"encoder.same.{stage - 2}"
            if stage > 1:
                yield from numbered_block(self.down.format(stage, stage - 1), f"encoder.down.{stage - 2}")
            for block in range(2):
                own = f"{ours}.{block}" if stage > 1 else f"encoder.first.{block + 1}"
                theirs = self.residual.format(stage, block + (self.second if stage > 1 else 0))
                for number, half in enumerate(("first", "second"), start=1):
                    yield f"{theirs}.conv{number}", f"{own}.{half}.convolution"
                    yield f"{theirs}.bn{number}", f"{own}.{half}.norm"
        yield from numbered_block(self.encoder_out, "encoder.height")

    def biases(self, detector: CenterDetector, found: Container[str]) -> Names:
        """Biases right before a norm among the names ``found``, and the running mean that they are taken from."""
        for theirs, ours in self.modules(detector):
            block = ours.removesuffix(".convolution")
            last = block.startswith("head.branches.") and block.endswith(".1")  # no norm follows
            if block != ours and not last and f"{theirs}.bias" in found:
                yield f"{theirs}.bias", f"{block}.norm.running_mean"

    def adapt(self, detector: CenterDetector, name: str, tensor: Tensor) -> Tensor:
        """Their tensor, with sparse kernels in our layout, as one for our kinds and order of numbers; ``name`` is
        ours."""
        part = name.rpartition(".")[0]
        at_own_stride = f"bev.neck.{detector.settings.neck_stage - 1}.convolution"
        if self.convolved and part == at_own_stride and tensor.dim() == 4:
            return tensor.transpose(0, 1)
        if part.startswith("head.branches."):
            if part.endswith(".size.1.convolution") and len(tensor) == len(self.size):
                return tensor[list(self.size)]
            if part.endswith(".yaw.1.convolution") and len(tensor) == len(self.yaw):
                return self.yaw_sign * tensor[list(self.yaw)]
        return tensor


_DET3D_BRANCHES = {"heatmap": "hm", "offset": "reg", "height": "height", "size": "dim", "yaw": "rot", "velocity": "vel"}
DET3D = CenterNames(
    pillars="reader.pfn_layers",
    encoder_input="backbone.conv_input",
    encoder_out="backbone.extra_conv",
    down="backbone.conv{0}",
    residual="backbone.conv{0}.{1}",
    second=3,  # after convolution, norm and ReLU
    plain_stage=None,
    backbone="neck.blocks",
    first=1,
    neck="neck.deblocks",
    convolved=True,
    shared=("bbox_head.shared_conv.0", "bbox_head.shared_conv.1"),
    branch="bbox_head.tasks.{0}.{1}",
    layers=("0", "1", "3"),
    branches=_DET3D_BRANCHES | {"iou": "iou"},
    size=(1, 0, 2),  # w, l, h
    yaw=(1, 0),  # sine and cosine of -yaw - pi / 2
    yaw_sign=-1.0,
)
OPENPCDET = CenterNames(
    pillars="vfe.pfn_layers",
    encoder_input="backbone_3d.conv_input",
    encoder_out="backbone_3d.conv_out",
    down="backbone_3d.conv{0}.0",
    residual="backbone_3d.conv{0}.{1}",
    second=1,
    plain_stage=("backbone_3d", "backbone_3d.conv"),
    backbone="backbone_2d.blocks",
    first=1,
    neck="backbone_2d.deblocks",
    convolved=False,
    shared=("dense_head.shared_conv.0", "dense_head.shared_conv.1"),
    branch="dense_head.heads_list.{0}.{1}",
    layers=("0.0", "0.1", "1"),
    branches={"heatmap": "hm", "offset": "center", "height": "center_z", "size": "dim", "yaw": "rot", "velocity": "vel",
              "iou": "iou"},
    size=(0, 1, 2),
    yaw=(1, 0),  # cosine, sine
    yaw_sign=1.0,
)  # fmt: skip
MMDET3D = CenterNames(
    pillars="pts_voxel_encoder.pfn_layers",
    encoder_input="pts_middle_encoder.conv_input",
    encoder_out="pts_middle_encoder.conv_out",
    down="pts_middle_encoder.encoder_layers.encoder_layer{1}.2",  # at the end of the stage before
    residual="pts_middle_encoder.encoder_layers.encoder_layer{0}.{1}",
    second=0,
    plain_stage=None,
    backbone="pts_backbone.blocks",
    first=0,
    neck="pts_neck.deblocks",
    convolved=True,
    shared=("pts_bbox_head.shared_conv.conv", "pts_bbox_head.shared_conv.bn"),
    branch="pts_bbox_head.task_heads.{0}.{1}",
    layers=("0.conv", "0.bn", "1"),
    branches=_DET3D_BRANCHES | {"heatmap": "heatmap"},
    size=(0, 1, 2),
    yaw=(0, 1),
    yaw_sign=1.0,
)
