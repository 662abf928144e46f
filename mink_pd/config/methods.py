"""Settings of the distillation methods other than PointDistiller: one section a method, published values where a
value carries over; docs/methods.md says where it does not."""

from typing import Literal

from pydantic import Field

from mink_pd.config.section import Section


class MethodConfig(Section):
    """What every method has."""

    weight: float = Field(1.0, ge=0)


class FeatureConfig(MethodConfig):
    """A method that compares features."""

    taps: list[str] | None = None  # None: those of distill.taps


class RowsConfig(FeatureConfig):
    """A method that compares selected rows: relations between all would be a matrix of thousands by thousands."""

    rows: int = Field(256, ge=1)  # selected a frame
    importance: Literal["points", "channel_max", "score"] = "score"


class FitNetsConfig(FeatureConfig):
    """FitNets (Romero et al., ICLR 2015)."""


class AttentionTransferConfig(FeatureConfig):
    """Attention transfer (Zagoruyko & Komodakis, ICLR 2017): beta is ``weight`` over the sites of a frame."""

    weight: float = Field(1000.0, ge=0)


class SimilarityConfig(RowsConfig):
    """Similarity-preserving distillation (Tung & Mori, ICCV 2019): gamma is ``weight``."""

    weight: float = Field(3000.0, ge=0)


class OverhaulConfig(FeatureConfig):
    """Feature overhaul with margin ReLU (Heo et al., ICCV 2019)."""


class FineGrainedConfig(FeatureConfig):
    """Fine-grained imitation near anchors (Wang et al., CVPR 2019): lambda is ``weight``."""

    weight: float = Field(0.01, ge=0)
    near: float = Field(0.5, ge=0, le=1)  # psi: a site is near from this share of the object's best IoU


class AttentionGuidedConfig(RowsConfig):
    """Attention-guided and non-local distillation (Zhang & Ma, ICLR 2021); ``rows`` are the non-local module's."""

    attention: float = Field(2e-2, ge=0)  # of the attention maps; this and the next two as for one-stage detectors
    features: float = Field(4e-4, ge=0)  # of the features under the attention masks
    non_local: float = Field(4e-4, ge=0)
    temperature: float = Field(0.5, gt=0)  # of the masks


class LocalisationConfig(MethodConfig):
    """Localisation distillation (Zheng et al., CVPR 2022)."""

    taps: list[Literal["boxes"]] = ["boxes"]
    weight: float = Field(0.25, ge=0)
    near: float = Field(0.25, ge=0, le=1)  # gamma: the valuable region from this share of the object's best IoU
    bins: int = Field(17, ge=2)
    reach: float = Field(1.0, gt=0)  # the bins of a residual lie between -reach and reach
    width: float = Field(0.125, gt=0)  # scale of the Laplace distribution around a residual


class LogitsConfig(MethodConfig):
    """Soft targets (Hinton, Vinyals & Dean 2015)."""

    taps: list[Literal["scores"]] = ["scores"]
    temperature: float = Field(2.0, gt=0)


class RelationalConfig(RowsConfig):
    """Relational distillation (Park et al., CVPR 2019)."""

    rows: int = Field(64, ge=1)  # angles are between all triples of them
    distance: float = Field(25.0, ge=0)
    angle: float = Field(50.0, ge=0)


class SparseKDConfig(MethodConfig):
    """SparseKD's logits at pivotal positions (Yang et al., NeurIPS 2022); distill.initialise is its other half."""

    taps: list[Literal["scores", "boxes"]] = ["scores", "boxes"]
    rows: int = Field(64, ge=1)  # pivotal positions a frame
    classification: float = Field(10.0, ge=0)
    box: float = Field(0.2, ge=0)


class PointDistillerConfig(Section):
    """PointDistiller (Zhang et al., CVPR 2023, section 3)."""

    taps: list[str] = ["bev1", "bev2", "neck"]
    weight: float = Field(1.0, ge=0)
    rows: int = Field(64, ge=1)  # N, voxels selected a frame
    neighbours: int = Field(16, ge=1)  # K
    temperature: float = Field(1.0, gt=0)  # tau
    importance: Literal["points", "channel_max", "score"] = "score"
    normalise: bool = True  # divide the importance by its mean over the selected rows
    local_distillation: bool = True  # LD: graph features instead of the rows' own
    reweighting: bool = True  # RL: phi instead of 1
    edge: Literal["neighbour", "difference"] = "neighbour"  # [x_j ; x_i] or [x_i - x_j ; x_i]
    knn_space: Literal["coordinates", "features"] = "coordinates"
    teacher_adapter: Literal["trained", "frozen"] = "frozen"  # frozen: a fixed orthogonal map; trained: as published


class DistillConfig(Section):
    """Which methods distil, each with its own section (docs/methods.md), and the controls.

    control: what replaces the teacher's features; its importance stays. random: fresh weights; shuffled: its own rows
    in another order; averaged: control_share of its weights, the rest random.
    """

    methods: list[str] = ["pointdistiller"]
    taps: list[str] = ["bev1", "bev2", "neck"]  # of methods that compare features and name no taps of their own
    control: Literal["none", "random", "shuffled", "averaged"] = "none"
    control_share: float = Field(0.5, ge=0, le=1)
    initialise: Literal["random", "teacher"] = "random"  # the student; teacher: with a part of its weights
    pointdistiller: PointDistillerConfig = PointDistillerConfig()
    fitnets: FitNetsConfig = FitNetsConfig()
    attention_transfer: AttentionTransferConfig = AttentionTransferConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    overhaul: OverhaulConfig = OverhaulConfig()
    fine_grained: FineGrainedConfig = FineGrainedConfig()
    attention_guided: AttentionGuidedConfig = AttentionGuidedConfig()
    localisation: LocalisationConfig = LocalisationConfig()
    logits: LogitsConfig = LogitsConfig()
    relational: RelationalConfig = RelationalConfig()
    sparsekd: SparseKDConfig = SparseKDConfig()
