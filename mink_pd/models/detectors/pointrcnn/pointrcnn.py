"""PointRCNN (Shi, Wang, Li; CVPR 2019), from points to boxes."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.config.pointrcnn import PointRCNNConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.compress import whole_width
from mink_pd.models.detector import Detections, Detector, Prediction
from mink_pd.models.detectors.pointrcnn.backbone import Backbone, PointHead
from mink_pd.models.detectors.pointrcnn.coder import BinCoder, BoxCoder, ResidualCoder
from mink_pd.models.detectors.pointrcnn.point_stage import assign_points, point_loss
from mink_pd.models.detectors.pointrcnn.pointnet import GroupedLayer, InterpolatedLayer
from mink_pd.models.detectors.pointrcnn.region_stage import Regions, propose, sample_regions
from mink_pd.models.detectors.pointrcnn.roi import RegionHead, boxes_from_frame, pool, region_loss
from mink_pd.models.heads.anchor_decode import suppress
from mink_pd.models.heads.anchor_head import PRIOR
from mink_pd.models.taps import PointTap
from mink_pd.points import PointSample, abstract, choose_points, interpolate
from mink_pd.registry import DETECTORS


@dataclass(kw_only=True)
class PointPrediction(Prediction):
    """The outputs of the first stage for N points of F frames."""

    sample: PointSample  # the points
    features: Tensor  # (F * N, C)
    scores: Tensor  # (F * N, classes) logits
    codes: Tensor  # (F * N, code)


@DETECTORS.register("pointrcnn")
class PointRCNN(Detector[PointSample, PointPrediction]):
    """Points -> PointNet++ -> a score and a box from every point -> regions -> their points -> refined boxes.

    ``forward`` is the first stage. The second stage needs regions, and training chooses other regions than detection,
    so it runs in ``loss`` and in ``detect``. A teacher whose first stage is distilled does not run it.
    """

    geometry = ("model.geometry",)
    rows_are_sites = False

    Settings = PointRCNNConfig

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        settings = config.model
        assert isinstance(settings, PointRCNNConfig)
        self.settings = settings
        width = partial(whole_width, compression=settings.compression)
        first, second = settings.box_coder, settings.roi.box_coder or settings.box_coder
        self.coder: BoxCoder = ResidualCoder(True) if first == "residual" else BinCoder(settings.bins, True)
        self.refiner: BoxCoder = ResidualCoder(False) if second == "residual" else BinCoder(settings.roi.bins, False)
        self.backbone = Backbone(settings.stages, settings.propagation, width, settings.norm_epsilon)
        hidden = [width(c) for c in settings.head_channels]
        self.head = PointHead(self.backbone.out, hidden, len(self.classes), self.coder.channels, PRIOR)
        self.regions = RegionHead(self.backbone.out, settings.roi, self.refiner.channels, width)
        self.sizes: Tensor
        self.register_buffer("sizes", torch.tensor([settings.sizes[name] for name in self.classes]), persistent=False)

    def tap_channels(self) -> dict[str, int]:
        return {"neck": self.backbone.out, "scores": len(self.classes), "boxes": self.coder.channels}

    def box_coding(self) -> dict[str, object]:
        """The first stage's coder, its bins and the sizes that it counts from."""
        settings = self.settings
        bins = {} if settings.box_coder == "residual" else settings.bins.model_dump(exclude={"beta"})
        return {"model.box_coder": settings.box_coder, "model.bins": bins, "model.sizes": self.sizes.tolist()}

    def input_groups(self) -> dict[str, Tensor]:
        layers = ((name, m) for name, m in self.named_modules() if isinstance(m, GroupedLayer | InterpolatedLayer))
        return {f"{name}.weight": layer.input_groups() for name, layer in layers}

    def shared_input(self, batch: Batch) -> PointSample:
        """The sampled points with all groups. In evaluation the sample depends only on the cloud, not on its name."""
        settings = self.settings
        by_content = not self.training
        sample = choose_points(
            batch.points[:, :4],
            batch.frame,
            len(batch),
            self.config.data.range,
            settings.points,
            settings.near,
            by_content,
        )
        if len(sample):
            xyz = sample.points[..., :3].contiguous()  # (F, N, 3)
            sample.levels = abstract(xyz, settings.stages)
            for level in sample.levels:
                sample.interpolations.append(interpolate(xyz, level.xyz))
                xyz = level.xyz
        return sample

    def forward(self, batch: Batch, shared: PointSample | None = None) -> PointPrediction:
        sample = self.shared_input(batch) if shared is None else shared
        if len(sample) == 0:
            return self.nothing(sample)
        features = self.backbone(sample)  # (F * N, 128)
        scores, codes = self.head(features)  # (F * N, classes), (F * N, code)
        taps = {"neck": features, "scores": scores, "boxes": codes}
        return PointPrediction(
            frames=len(batch),
            taps={name: PointTap(values, sample) for name, values in taps.items()},
            sample=sample,
            features=features,
            scores=scores,
            codes=codes,
        )

    def nothing(self, sample: PointSample) -> PointPrediction:
        """The prediction for a batch without a point in range."""
        features, scores, codes = (
            sample.points.new_zeros(0, c) for c in (self.backbone.out, len(self.classes), self.coder.channels)
        )
        return PointPrediction(frames=sample.frames, sample=sample, features=features, scores=scores, codes=codes)

    def propose(self, prediction: PointPrediction) -> Regions:
        """Regions of interest of all frames."""
        sample = prediction.sample
        xyz = sample.rows[:, :3]
        scores, labels = torch.sigmoid(prediction.scores).detach().max(dim=1)  # (F * N,)
        boxes = self.coder.decode(prediction.codes.detach(), xyz, self.sizes[labels])  # (F * N, 7)
        frames = len(sample.present)
        frame = torch.arange(frames, device=xyz.device).repeat_interleave(sample.points.shape[1])
        points = Regions(boxes, labels, scores, frame)
        return propose(points, xyz.norm(dim=1), frames, self.settings.proposals, self.training)

    def refine(self, prediction: PointPrediction, regions: Regions) -> tuple[Tensor, Tensor, Tensor]:
        """The second stage: logits (R,), box codes (R, code), and the sizes (R, 3) to which these are relative."""
        scores = torch.sigmoid(prediction.scores.detach()).amax(dim=1)
        features = prediction.features.detach()
        once = self.regions.takes_points_once(features)
        points = pool(prediction.sample, scores, features, regions, self.settings.roi, once)
        sizes = self.sizes[regions.labels] if self.refiner.mean_sizes else regions.boxes[:, 3:6]
        return (*self.regions(points), sizes)

    def loss(self, prediction: PointPrediction, batch: Batch) -> dict[str, Tensor]:
        sample, settings = prediction.sample, self.settings
        if len(sample) == 0:
            return dict.fromkeys(("point", "point_box", "region", "region_box"), prediction.scores.sum())
        targets = assign_points(sample, batch, settings.loss.margin)
        xyz = sample.rows[:, :3]
        first = point_loss(prediction.scores, prediction.codes, xyz, targets, self.coder, self.sizes, settings.loss)
        present = sample.present.tolist()
        objects, labels = ([values[frame] for frame in present] for values in (batch.boxes, batch.labels))
        regions, wanted = sample_regions(self.propose(prediction), objects, labels, settings.roi)
        logits, codes, sizes = self.refine(prediction, regions)
        return first | region_loss(logits, codes, regions, wanted, self.refiner, sizes, settings.loss)

    @torch.no_grad()
    def detect(self, prediction: PointPrediction) -> list[Detections]:
        found = [Detections.none(prediction.scores.device)] * prediction.frames
        if len(prediction.sample) == 0:
            return found
        regions = self.propose(prediction)
        logits, codes, sizes = self.refine(prediction, regions)
        seen = self.refiner.decode(codes, torch.zeros_like(sizes), sizes)
        scores = logits.sigmoid()  # (R,)
        if self.settings.roi.score == "both":
            scores = (scores * regions.scores).sqrt()
        refined = Regions(boxes_from_frame(seen, regions.boxes), regions.labels, scores, regions.frame)
        for index, frame in enumerate(prediction.sample.present.tolist()):
            found[frame] = self.best(refined[torch.nonzero(refined.frame == index)[:, 0]])
        return found

    def best(self, regions: Regions) -> Detections:
        """Detections of one frame: regions above the lowest score after NMS per class, best first."""
        settings = self.settings.nms
        regions = regions[torch.nonzero(regions.scores >= settings.score)[:, 0]]
        kept = []
        for label in range(len(self.classes)):
            here = torch.nonzero(regions.labels == label)[:, 0]
            kept.append(here[suppress(regions.boxes[here], regions.scores[here], settings.iou)])
        rows = torch.cat(kept)
        rows = rows[regions.scores[rows].argsort(descending=True, stable=True)[: settings.after]]
        return Detections(regions.boxes[rows], regions.labels[rows], regions.scores[rows])
