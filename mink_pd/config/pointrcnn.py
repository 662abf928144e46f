"""Settings of PointRCNN (Shi et al., CVPR 2019); the defaults are as published unless a comment says otherwise."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mink_pd.config.models import DetectorConfig
from mink_pd.config.section import Count, Positive, Section, Share, Size3, Weight

Channels = Annotated[list[Count], Field(min_length=1)]  # of an MLP's layers


class SetAbstractionConfig(Section):
    """One set abstraction of PointNet++, multi-scale where there are several radii."""

    points: int = Field(ge=0)  # kept by farthest-point sampling; 0: one group of all
    radii: list[Positive] = Field(min_length=1)  # [m]
    neighbours: list[Count]  # points per group, for each radius
    channels: list[Channels]  # of the shared MLP, for each radius

    @model_validator(mode="after")
    def _one_of_each_a_radius(self) -> "SetAbstractionConfig":
        if not len(self.radii) == len(self.neighbours) == len(self.channels):
            raise ValueError("radii, neighbours and channels must be lists of one length")
        return self


class BinConfig(Section):
    """Bins of a box's centre and heading (PointRCNN, section 3.2)."""

    search: float = Field(gt=0)  # S, farthest offset of the centre along x and y [m]
    size: float = Field(0.5, gt=0)  # delta, of a bin [m]
    headings: int = Field(ge=1)  # n
    beta: float = Field(1.0, gt=0)  # error from which the residuals' smooth L1 is linear; a small one refines sooner


class ProposalConfig(Section):
    """Selection of regions of interest: the highest scores after rotated NMS, with shares of near and far regions."""

    before: int = Field(9000, ge=1)  # per frame, before NMS
    train: int = Field(512, ge=1)  # per frame, after NMS
    test: int = Field(100, ge=1)
    train_iou: float = Field(0.85, ge=0, le=1)
    test_iou: float = Field(0.8, ge=0, le=1)
    near: float = Field(40.0, gt=0)  # [m]
    near_share: float = Field(0.7, ge=0, le=1)


class RoIConfig(Section):
    """The second stage: its input, its network, and the regions it is trained on (PointRCNN, sections 3.3 and 3.4)."""

    margin: float = Field(1.0, ge=0)  # that a region is enlarged by on all sides [m]
    points: int = Field(512, ge=1)  # a region
    depth: float = Field(70.0, gt=0)  # by which a point's distance is divided [m]
    heights: Literal["centre", "bottom"] = "centre"  # of a region, where its points' z is 0; MMDetection3D: bottom
    channels: Channels = [128, 128]  # of the local coordinates' MLP; the last is also the merged one
    stages: Annotated[list[SetAbstractionConfig], Field(min_length=1)] = [
        SetAbstractionConfig(points=128, radii=[0.2], neighbours=[16], channels=[[128, 128, 128]]),
        SetAbstractionConfig(points=32, radii=[0.4], neighbours=[16], channels=[[128, 128, 256]]),
        SetAbstractionConfig(points=0, radii=[100.0], neighbours=[32], channels=[[256, 256, 512]]),
    ]
    head_channels: list[Count] = [256, 256]
    bins: BinConfig = BinConfig(search=1.5, headings=9)
    sampled: int = Field(64, ge=1)  # regions per frame in training
    foreground_share: float = Field(0.5, ge=0, le=1)
    foreground: Share = 0.6  # IoU from which a region is a positive of the class
    background: Share = 0.45  # IoU below which it is a negative
    regressed: Share = 0.55  # IoU from which its box is refined
    easy: Share = 0.05  # IoU below which a negative is an easy one
    hard_share: float = Field(0.8, ge=0, le=1)  # of the negatives
    jitter: int = Field(10, ge=0)  # tries to move a region at random with its IoU kept; 0: not moved
    box_coder: Literal["bins", "residual"] | None = None  # None: the first stage's
    score: Literal["second", "both"] = "second"  # of a detection: this stage's; the geometric mean with the first's
    labelled: bool = True  # labelled boxes are regions too; without them the second stage waits for the first to learn


class PointLossConfig(Section):
    """Weights of PointRCNN's losses; all 1 in the paper."""

    point: Weight = 1.0
    point_box: Weight = 1.0
    region: Weight = 1.0
    region_box: Weight = 1.0
    focal_alpha: Share = 0.25
    focal_gamma: Weight = 2.0
    margin: float = Field(
        0.2, ge=0
    )  # points within this distance around an object are neither foreground nor background [m]


class PointRCNNConfig(DetectorConfig):
    """PointRCNN (Shi et al., CVPR 2019); final detections follow ``nms``."""

    double: ClassVar[bool] = False
    name: Literal["pointrcnn"] = "pointrcnn"
    sizes: dict[str, Size3] = {  # mean l, w, h of each class [m]
        "Car": (3.9, 1.6, 1.56),
        "Pedestrian": (0.8, 0.6, 1.73),
        "Cyclist": (1.76, 0.6, 1.73),
    }
    box_coder: Literal["bins", "residual"] = "bins"  # residual: what OpenPCDet and MMDetection3D regress
    points: int = Field(16384, ge=1)  # a frame
    near: float = Field(40.0, ge=0)  # all points farther than this are kept [m]
    stages: Annotated[list[SetAbstractionConfig], Field(min_length=1)] = [
        SetAbstractionConfig(points=4096, radii=[0.1, 0.5], neighbours=[16, 32], channels=[[16, 16, 32], [32, 32, 64]]),
        SetAbstractionConfig(
            points=1024, radii=[0.5, 1.0], neighbours=[16, 32], channels=[[64, 64, 128], [64, 96, 128]]
        ),
        SetAbstractionConfig(
            points=256, radii=[1.0, 2.0], neighbours=[16, 32], channels=[[128, 196, 256], [128, 196, 256]]
        ),
        SetAbstractionConfig(
            points=64, radii=[2.0, 4.0], neighbours=[16, 32], channels=[[256, 256, 512], [256, 384, 512]]
        ),
    ]
    norm_epsilon: float = Field(1e-3, gt=0)  # of the batch norms in stages, 1e-5 in all others; OpenPCDet: 1e-5
    propagation: list[Channels] = [[512, 512], [512, 512], [256, 256], [128, 128]]  # from the coarsest level on
    head_channels: list[Count] = [256, 256]
    bins: BinConfig = BinConfig(search=3.0, headings=12)
    proposals: ProposalConfig = ProposalConfig()
    roi: RoIConfig = RoIConfig()
    loss: PointLossConfig = PointLossConfig()

    @property
    def geometry(self) -> tuple[object, ...]:
        """Settings that points and groups depend on; two networks must agree in them to share points and groups."""
        return self.points, self.near, [(stage.points, stage.radii, stage.neighbours) for stage in self.stages]

    def check(self, classes: list[str], velocities: bool) -> None:
        missing = [name for name in classes if name not in self.sizes]
        if missing:
            raise ValueError(f"model.sizes has no entry for {missing[0]}, which data.classes lists")

    @model_validator(mode="after")
    def _levels_shrink(self) -> "PointRCNNConfig":
        if len(self.propagation) != len(self.stages):
            raise ValueError("propagation must have an entry for each of stages")
        counts = [self.points, *(stage.points for stage in self.stages)]
        if not all(0 < below <= above for above, below in pairwise(counts)) or counts[-1] < 3:
            raise ValueError("points of the stages must fall from points on, to 3 at least")
        return self
