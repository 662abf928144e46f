"""Settings of CenterPoint (Yin, Zhou & Krähenbühl, CVPR 2021), on pillars and on voxels."""

from typing import Literal

from pydantic import Field

from mink_pd.config.models import BevDetectorConfig, NMSConfig, PillarEncoderConfig, VoxelEncoderConfig
from mink_pd.config.section import Count, Positive, Section, Share, Weight


class CenterNMSConfig(NMSConfig):
    """Non-maximum suppression within a task, over all its classes together.

    rotated: by the overlap of boxes seen from above, ``iou``; circle: by the distance of centres, ``radius``.
    """

    kind: Literal["rotated", "circle"] = "rotated"
    iou: Share = 0.2
    radius: list[Positive] = Field([0.5], min_length=1)  # [m] of each task; one number: of all


class CenterLossConfig(Section):
    """Weights of the detection loss (CenterPoint, Yin et al. 2021, section 4.1), and the Gaussians of the heatmap."""

    heatmap: Weight = 1.0
    box: Weight = 0.25
    velocity: Weight = 0.05  # of a component, in m/s
    iou: Weight = 1.0  # of the IoU that ``head.iou`` predicts
    overlap: float = Field(0.1, gt=0, lt=1)  # a Gaussian reaches as far as a moved box overlaps the object by this IoU
    min_radius: int = Field(2, ge=0)  # of a Gaussian, in cells of the head


class CenterHeadConfig(Section):
    """What the centre head predicts, and how wide it is."""

    channels: Count = 64  # of the shared convolution and of each branch
    velocity: bool = False  # predict velocities
    iou: bool = False  # predict each box's IoU with its object, and rectify the score by it
    rectifier: Share = 0.5  # a: score = heatmap^(1 - a) IoU^a


class CenterDetectorConfig(BevDetectorConfig):
    """Settings that all forms of CenterPoint share (Yin, Zhou & Krähenbühl, CVPR 2021).

    tasks: groups of classes, each with its own branches; None: one task of all classes.
    With ``bev: sparse`` the head predicts at occupied sites only, as VoxelNeXt does (Chen et al., CVPR 2023).
    """

    tasks: list[list[str]] | None = None
    head: CenterHeadConfig = CenterHeadConfig()
    nms: CenterNMSConfig = CenterNMSConfig()
    loss: CenterLossConfig = CenterLossConfig()

    def groups(self, classes: list[str]) -> list[list[str]]:
        """The classes of each task."""
        return [classes] if self.tasks is None else self.tasks

    def check(self, classes: list[str], velocities: bool) -> None:
        groups = self.groups(classes)
        listed = [name for group in groups for name in group]
        if sorted(listed) != sorted(classes) or not all(groups):
            raise ValueError(
                f"model.tasks must hold each of data.classes once, in groups; it holds {', '.join(listed) or 'none'},"
                f" and data.classes lists {', '.join(classes)}"
            )
        if self.head.velocity and not velocities:
            raise ValueError("model.head.velocity needs a data set with velocities; set data.kind=nuscenes")
        if self.neck == "fpn":
            raise ValueError("model.neck=fpn has several levels, and a centre head reads one; set model.neck=second")
        if self.nms.kind == "circle" and len(self.nms.radius) not in (1, len(groups)):
            raise ValueError(f"model.nms.radius must have one number, or one for each of the {len(groups)} tasks")


class CenterPointPillarsConfig(PillarEncoderConfig, CenterDetectorConfig):
    """CenterPoint on pillars."""

    name: Literal["centerpoint_pillars"] = "centerpoint_pillars"
    nms: CenterNMSConfig = (
        CenterNMSConfig()
    )  # repeated: pydantic takes a field from the first of two bases that have it


class CenterPointVoxelsConfig(VoxelEncoderConfig, CenterDetectorConfig):
    """CenterPoint on voxels, with the residual encoder as published."""

    name: Literal["centerpoint_voxels"] = "centerpoint_voxels"
    nms: CenterNMSConfig = CenterNMSConfig()
    encoder_channels: list[int] = Field([16, 32, 64, 128, 128], min_length=5, max_length=5)
    residual: bool = True
