"""Settings of detectors: those that all share, those of detectors with anchors, and those of each detector."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mink_pd.config.section import Count, Positive, Section, Share, Size3, Weight

_MOST_CELLS = 20_000  # cells along an axis: a kilometre in steps of 5 cm
Layers = Annotated[int, Field(ge=0)]  # convolutions of a stage after the strided one


class AnchorConfig(Section):
    """Anchors of one class or shape: two at every site, with headings of 0 and 90 degrees."""

    size: Size3  # l, w, h [m]
    z: float  # height of the anchor's centre [m]
    matched: float = Field(gt=0, le=1)  # IoU from which an anchor is positive
    unmatched: Share  # IoU below which it is negative

    @model_validator(mode="after")
    def _thresholds_ascend(self) -> "AnchorConfig":
        if self.unmatched > self.matched:
            raise ValueError(f"unmatched ({self.unmatched:g}) must not be above matched ({self.matched:g})")
        return self


class NMSConfig(Section):
    """Settings of decoding and non-maximum suppression."""

    score: float = Field(0.1, ge=0, le=1)
    iou: float = Field(0.1, ge=0, le=1)
    before: int = Field(1024, ge=1)  # per class
    after: int = Field(100, ge=1)  # per frame


class LossConfig(Section):
    """Weights of the detection loss (SECOND, Yan et al. 2018, section 3.3); velocity: of a component, in m/s."""

    classification: Weight = 1.0
    box: Weight = 2.0
    direction: Weight = 0.2
    velocity: Weight = 0.2
    focal_alpha: Share = 0.25
    focal_gamma: Weight = 2.0


class HeadConfig(Section):
    """Anchor placement, class assignment and angle encoding of a head. Imported weights need the settings that they
    were trained with.

    any_class: an anchor is matched to objects of all classes instead of only its own.
    scales: factor of the anchor size at each level of an fpn neck, finest first; one number applies to all levels.
    """

    places: Literal["centres", "ends"] = "centres"  # of cells; or spread evenly from end to end of the range
    headings: tuple[float, float] = (0.0, 1.57079633)  # of each class's two anchors [rad]
    direction_offset: float = 0.78539816  # where the two direction classes meet [rad]
    any_class: bool = False
    scales: list[Positive] = Field([1.0], min_length=1)
    velocity: bool = False  # predict velocities


class DetectorConfig(Section):
    """Settings that all detectors share; ``compression`` divides parameters and multiply-adds, channels by its square
    root.

    double: whether the detector computes in float64 too (``train.precision=64-true``).
    """

    double: ClassVar[bool] = True
    name: str
    compression: float = Field(1.0, ge=1)
    nms: NMSConfig = NMSConfig()

    def check(self, classes: list[str], velocities: bool) -> None:
        """Raise ValueError if the detector cannot be built for these classes, or needs velocities that the data set
        lacks."""

    def check_range(self, range: tuple[float, ...]) -> None:
        """Raise ValueError if the detector does not support this range (x, y, z from, x, y, z to [m])."""


class BevDetectorConfig(DetectorConfig):
    """Settings of detectors with a backbone in the bird's-eye view.

    bev: sparse: convolutions at occupied sites only; dense: on the whole grid, as published.
    neck: second: all stages concatenated at the resolution of stage ``neck_stage``; fpn: one level per stage, to which
    the coarser levels are added, and one head for all levels.
    """

    voxel_size: Size3
    max_points: int | None = Field(None, ge=1)  # of a voxel that count, the first ones in the file; None: all
    bev: Literal["sparse", "dense"] = "sparse"
    channels: list[Count]  # of the stages
    strides: list[Count]
    layers: list[Layers]  # convolutions per stage after the strided one
    neck: Literal["second", "fpn"] = "second"
    neck_channels: int = Field(ge=1)  # that each stage brings into the neck; of every level of an fpn
    neck_stage: int = Field(1, ge=1)  # counted from 1

    @model_validator(mode="after")
    def _stages_agree(self) -> "BevDetectorConfig":
        if not len(self.channels) == len(self.strides) == len(self.layers) > 0:
            raise ValueError("channels, strides and layers must have one number a stage")
        if self.neck_stage > len(self.channels):
            raise ValueError(f"neck_stage must be one of the {len(self.channels)} stages")
        if self.neck == "fpn" and self.neck_stage != 1:
            raise ValueError("neck_stage is for neck=second; an fpn has a level at every stage")
        return self

    def check_range(self, range: tuple[float, ...]) -> None:
        for axis, low, high, size in zip("xyz", range[:3], range[3:], self.voxel_size, strict=True):
            if not 1 <= round((high - low) / size, 3) <= _MOST_CELLS:
                raise ValueError(
                    f"model.voxel_size is {size:g} along {axis}, where data.range goes from {low:g} to {high:g}:"
                    f" it must fit in once to {_MOST_CELLS} times"
                )


class PillarEncoderConfig(BevDetectorConfig):
    """Settings of detectors on pillars, with the backbone of PointPillars (Lang et al., CVPR 2019)."""

    voxel_size: Size3 = (0.16, 0.16, 4.0)
    pillar_channels: int = Field(64, ge=1)
    pillar_layers: list[
        Count
    ] = []  # channels of layers before the last; each appends its pillar's maximum to the points
    intensity: bool = True  # false: the network does not see it, as in Autoware's CenterPoint
    centre_height: bool = True  # a point's offset to the centre of its pillar has a z; false: x and y only
    empty_slots: bool = False  # a pillar of fewer than max_points points pools zero points as well, as published
    channels: list[Count] = [64, 128, 256]
    strides: list[Count] = [2, 2, 2]
    layers: list[Layers] = [3, 5, 5]
    neck_channels: int = Field(128, ge=1)

    @model_validator(mode="after")
    def _slots_are_bounded(self) -> "PillarEncoderConfig":
        if self.empty_slots and self.max_points is None:
            raise ValueError("empty_slots needs max_points, the number of slots; published: 32")
        return self


class VoxelEncoderConfig(BevDetectorConfig):
    """Settings of detectors on voxels, with the encoder and backbone of SECOND (Yan et al., Sensors 2018)."""

    voxel_size: Size3 = (0.05, 0.05, 0.1)
    encoder_channels: list[Count] = Field([16, 32, 64, 64, 128], min_length=5, max_length=5)  # four stages, height
    residual: bool = False  # residual blocks (He et al., CVPR 2016) instead of the encoder's stride-1 convolutions
    channels: list[Count] = [128, 256]
    strides: list[Count] = [1, 2]
    layers: list[Layers] = [5, 5]
    neck_channels: int = Field(256, ge=1)


class AnchorDetectorConfig(BevDetectorConfig):
    """Settings of detectors with anchors in the bird's-eye view.

    anchors: one entry per class; with ``head.any_class``, one per shape, each with its own name.
    """

    head: HeadConfig = HeadConfig()
    anchors: dict[str, AnchorConfig] = {
        "Car": AnchorConfig(size=(3.9, 1.6, 1.56), z=-1.0, matched=0.6, unmatched=0.45),
        "Pedestrian": AnchorConfig(size=(0.8, 0.6, 1.73), z=-0.6, matched=0.5, unmatched=0.35),
        "Cyclist": AnchorConfig(size=(1.76, 0.6, 1.73), z=-0.6, matched=0.5, unmatched=0.35),
    }
    loss: LossConfig = LossConfig()

    def check(self, classes: list[str], velocities: bool) -> None:
        missing = [name for name in classes if name not in self.anchors]
        if missing and not self.head.any_class:
            raise ValueError(f"model.anchors has no entry for {missing[0]}, which data.classes lists")
        if self.head.velocity and not velocities:
            raise ValueError("model.head.velocity needs a data set with velocities; set data.kind=nuscenes")
        levels = len(self.channels) if self.neck == "fpn" else 1
        if len(self.head.scales) not in (1, levels):
            raise ValueError(f"model.head.scales must have one number, or one for each of the neck's {levels} levels")


class PointPillarsConfig(PillarEncoderConfig, AnchorDetectorConfig):
    """PointPillars (Lang et al., CVPR 2019)."""

    name: Literal["pointpillars"] = "pointpillars"


class SecondConfig(VoxelEncoderConfig, AnchorDetectorConfig):
    """SECOND (Yan et al., Sensors 2018)."""

    name: Literal["second"] = "second"
