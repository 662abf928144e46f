"""How OpenPCDet and MMDetection3D name the layers of detectors, and what their numbers mean."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mink_pd.convert.point_names import MMDET3D, OPENPCDET, PointNames
from mink_pd.models import Detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.pillars import PillarFeatureNet
from mink_pd.models.pointrcnn import PointRCNN
from mink_pd.models.sparse_encoder import SparseEncoder


@dataclass(frozen=True)
class Dialect:
    """weights: the key of a file that holds the tensors. points: the names of PointRCNN's modules. The next ones are
    those of the others; ``first`` is the number of the first convolution in a block of the backbone, after which
    convolution, norm and ReLU take one each. biased: convolutions of PointRCNN's backbone have a bias before the norm.
    legacy_pillars: a point's channels are x, y, z from the pillar's centre, intensity, x, y, z from the points' mean,
    and x, y, z from the centre again. box_z: where the z of a box is; first_label: the number of the first class.
    """

    weights: str
    points: PointNames
    pillars: str
    encoder: str
    encoder_stage: str
    backbone: str
    first: int
    neck: str
    head: str
    box: str
    biased: bool
    legacy_pillars: bool
    box_z: Literal["centre", "bottom"]
    first_label: int

    def modules(self, detector: Detector) -> Iterator[tuple[str, str]]:
        """Names of every module with weights: theirs, ours."""
        if isinstance(detector, PointRCNN):
            yield from self.points.modules(detector)
        elif isinstance(detector, AnchorDetector):
            yield from self._anchor_modules(detector)

    def biases(self, detector: Detector) -> Iterator[tuple[str, str]]:
        """Their biases right before a norm, which ours have not, and the running mean that they are taken from."""
        if self.biased:
            for theirs, ours in self.modules(detector):
                if ours.startswith("backbone.down.") and not ours.endswith(".norm"):
                    yield f"{theirs}.bias", f"{ours}.norm.running_mean"

    def _anchor_modules(self, detector: AnchorDetector) -> Iterator[tuple[str, str]]:
        if isinstance(detector.encoder, PillarFeatureNet):
            yield f"{self.pillars}.linear", "encoder.linear"
            yield f"{self.pillars}.norm", "encoder.norm"
        if isinstance(detector.encoder, SparseEncoder):
            yield from _block(f"{self.encoder}.conv_input", "encoder.first.0")
            yield from _block(f"{self.encoder_stage}1.0", "encoder.first.1")
            for stage in range(len(detector.encoder.down)):
                theirs = f"{self.encoder_stage}{stage + 2}"
                yield from _block(f"{theirs}.0", f"encoder.down.{stage}")
                yield from _block(f"{theirs}.1", f"encoder.same.{stage}.0")
                yield from _block(f"{theirs}.2", f"encoder.same.{stage}.1")
            yield from _block(f"{self.encoder}.conv_out", "encoder.height")
        for stage, more in enumerate(detector.settings.layers):
            for index in range(1 + more):
                block, ours = f"{self.backbone}.{stage}", f"bev.backbone.{stage}.{index}"
                yield from _block(block, ours, self.first + 3 * index)
            yield from _block(f"{self.neck}.{stage}", f"bev.neck.{stage}")
        for theirs, ours in (("conv_cls", "score"), (self.box, "box"), ("conv_dir_cls", "direction")):
            yield f"{self.head}.{theirs}", f"head.{ours}"


def _block(theirs: str, ours: str, first: int = 0) -> Iterator[tuple[str, str]]:
    yield f"{theirs}.{first}", f"{ours}.convolution"
    yield f"{theirs}.{first + 1}", f"{ours}.norm"


DIALECTS = {
    "openpcdet": Dialect(
        weights="model_state",
        points=OPENPCDET,
        pillars="vfe.pfn_layers.0",
        encoder="backbone_3d",
        encoder_stage="backbone_3d.conv",
        backbone="backbone_2d.blocks",
        first=1,  # a padding module takes number 0
        neck="backbone_2d.deblocks",
        head="dense_head",
        box="conv_box",
        biased=False,
        legacy_pillars=False,
        box_z="centre",
        first_label=1,
    ),
    "mmdet3d": Dialect(
        weights="state_dict",
        points=MMDET3D,
        pillars="voxel_encoder.pfn_layers.0",
        encoder="middle_encoder",
        encoder_stage="middle_encoder.encoder_layers.encoder_layer",
        backbone="backbone.blocks",
        first=0,
        neck="neck.deblocks",
        head="bbox_head",
        box="conv_reg",
        biased=True,
        legacy_pillars=True,
        box_z="bottom",
        first_label=0,
    ),
}
