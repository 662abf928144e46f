"""PointPillars (Lang et al., CVPR 2019) on sparse tensors, from points to boxes."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.data.batch import Batch
from mink_pd.models.anchors import place_anchors
from mink_pd.models.compress import width
from mink_pd.models.decode import detect
from mink_pd.models.detector import AnchorPrediction, Detections, Detector
from mink_pd.models.head import AnchorHead
from mink_pd.models.losses import detection_loss
from mink_pd.models.pillars import PillarFeatureNet
from mink_pd.sparse import ME, ConvBlock, SiteTap, Voxels, voxelise
from mink_pd.sparse.layers import shared_sites


class PointPillars(Detector[Voxels, AnchorPrediction]):
    """Pillars -> three sparse stages (strides 2, 4, 8) -> neck on grown sites of stride 2 -> anchors."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        model, bounds = config.model, config.data.range
        pillar, *stages = (width(c, model.compression) for c in [model.pillar_channels, *model.channels])
        neck = width(model.neck_channels, model.compression)
        self.pillars = PillarFeatureNet(pillar, height=(bounds[2] + bounds[5]) / 2)
        self.backbone = Backbone([pillar, *stages], model.layers)
        self.neck = Neck(stages, neck)
        classes, anchors = len(self.classes), 2 * len(self.classes)
        self.head = AnchorHead(3 * neck, anchors, classes)
        self._tap_channels = (pillar, *stages, 3 * neck, anchors * classes, anchors * 7)

    def tap_channels(self) -> dict[str, int]:
        names = ("pillars", "bev1", "bev2", "bev3", "neck", "scores", "boxes")
        return dict(zip(names, self._tap_channels, strict=True))

    def voxelise(self, batch: Batch) -> Voxels:
        data, model = self.config.data, self.config.model
        return voxelise(batch.points, batch.frame, len(batch), model.voxel_size, data.range, dimensions=2)

    def forward(self, batch: Batch, voxels: Voxels | None = None) -> AnchorPrediction:
        voxels = self.voxelise(batch) if voxels is None else voxels
        if len(voxels) == 0:
            return self.head.nothing(len(batch), batch.points.device)
        pillars = voxels.tensor(self.pillars(voxels))  # (M, 64), stride 1
        stages = self.backbone(pillars)  # (M1, 64), (M2, 128), (M3, 256), strides 2, 4, 8
        neck = self.neck(stages, voxels)  # (S, 384), stride 2
        prediction = self.head(neck, voxels, self.anchors(neck, voxels))
        features = {"pillars": pillars, "bev1": stages[0], "bev2": stages[1], "bev3": stages[2], "neck": neck}
        prediction.taps |= {name: SiteTap(tensor, voxels) for name, tensor in features.items()}
        return prediction

    def anchors(self, sites: "ME.SparseTensor", voxels: Voxels) -> Tensor:
        """(S, A, 7): two headings a class at the centre of every site."""
        centres = voxels.centres(sites.C, sites.tensor_stride[0])
        return place_anchors(centres, [self.config.model.anchors[name] for name in self.classes])

    def loss(self, prediction: AnchorPrediction, batch: Batch) -> dict[str, Tensor]:
        anchors = [self.config.model.anchors[name] for name in self.classes]
        return detection_loss(prediction, batch, anchors, self.config.model.loss)

    @torch.no_grad()
    def detect(self, prediction: AnchorPrediction) -> list[Detections]:
        return detect(prediction, self.config.model.nms)


class Backbone(nn.Module):
    """Three stages; each halves the resolution with its first convolution."""

    def __init__(self, channels: list[int], layers: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(ConvBlock(c_in, c_out, stride=2), *(ConvBlock(c_out, c_out) for _ in range(more)))
            for (c_in, c_out), more in zip(pairwise(channels), layers, strict=True)
        )

    def forward(self, x: "ME.SparseTensor") -> list["ME.SparseTensor"]:
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Neck(nn.Module):
    """Brings the stages together at stride 2.

    An object's centre is often an empty cell. Every site of stride 8 is therefore spread over its 4 x 4 cells of
    stride 2 (a generative transposed convolution), and the finer stages are convolved onto those grown sites.
    """

    def __init__(self, channels: list[int], out: int) -> None:
        super().__init__()
        self.from_bev3 = ConvBlock(channels[2], out, kernel=4, stride=4, transposed=True)
        self.from_bev2 = ConvBlock(channels[1], out, kernel=2, stride=2, transposed=True)
        self.from_bev1 = ConvBlock(channels[0], out, kernel=3)

    def forward(self, stages: list["ME.SparseTensor"], voxels: Voxels) -> "ME.SparseTensor":
        bev1, bev2, bev3 = stages
        coarse = shared_sites(self.from_bev3, bev3, voxels, "neck")  # (S, 128)
        sites = coarse.coordinate_map_key
        middle, fine = self.from_bev2(bev2, sites), self.from_bev1(bev1, sites)  # (S, 128) each
        return ME.SparseTensor(
            torch.cat([fine.F, middle.F, coarse.F], dim=1),  # (S, 384)
            coordinate_map_key=sites,
            coordinate_manager=voxels.manager,
        )
