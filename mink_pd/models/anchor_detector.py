"""What PointPillars and SECOND share: from features on sites seen from above to boxes."""

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.data.batch import Batch
from mink_pd.models.anchors import anchor_places, place_anchors
from mink_pd.models.bev import BevNetwork, DenseBev, SparseBev
from mink_pd.models.compress import width
from mink_pd.models.decode import detect
from mink_pd.models.detector import AnchorPrediction, Detections, Detector
from mink_pd.models.head import AnchorHead
from mink_pd.models.losses import detection_loss
from mink_pd.models.taps import SiteTap
from mink_pd.sparse import ME, Voxels
from mink_pd.sparse.voxels import grid_shape, in_grid

_SOME = 1024  # points that are looked at together: the first ones nearly always tell


class AnchorDetector(Detector[Voxels, AnchorPrediction]):
    """A detector that ends in a backbone in the bird's-eye view, a neck and an anchor head."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        assert isinstance(config.model, AnchorDetectorConfig)
        self.settings = config.model
        anchors, head = self.settings.anchors, self.settings.head
        self._anchors = list(anchors.values()) if head.any_class else [anchors[name] for name in self.classes]

    def build_bev(self, channels_in: int, stride: int) -> None:
        """Make ``bev`` and ``head`` for features of ``channels_in`` at a tensor stride."""
        model, fpn = self.settings, self.settings.neck == "fpn"
        stages = [width(c, model.compression) for c in model.channels]
        neck = width(model.neck_channels, model.compression)
        shape = [channels_in, *stages], model.strides, model.layers, neck
        cells_x, cells_y, _ = grid_shape(self.config.data.range, model.voxel_size)
        grid = (-(-cells_x // stride), -(-cells_y // stride))
        self.bev: BevNetwork = SparseBev(*shape, fpn) if model.bev == "sparse" else DenseBev(*shape, grid, fpn)
        width_out, levels = (neck, len(stages)) if fpn else (len(stages) * neck, 1)
        self.head = AnchorHead(width_out, 2 * len(self._anchors), len(self.classes), model.head.velocity)
        self._bev_channels = {f"bev{i + 1}": channels for i, channels in enumerate(stages)}
        self._bev_channels |= dict.fromkeys(neck_names(levels), width_out) | self.head.tap_channels()

    def sees(self, batch: Batch) -> bool:
        bounds, size = self.config.data.range, self.settings.voxel_size
        return any(bool(in_grid(some, size, bounds).any()) for some in batch.points.split(_SOME) if len(some))

    def tap_channels(self) -> dict[str, int]:
        return dict(self._bev_channels)

    def predict(self, x: "ME.SparseTensor", voxels: Voxels) -> AnchorPrediction:
        """From features on sites of two dimensions to the prediction, with the taps of all stages."""
        features = self.bev(x, voxels)
        head, bounds = self.settings.head, self.config.data.range
        anchors = []
        for number, level in enumerate(features.levels):
            places = anchor_places(level.coordinates, level.stride, voxels, bounds, head)  # (S_i, 2)
            scale = head.scales[min(number, len(head.scales) - 1)]
            anchors.append(place_anchors(places, self._anchors, head.headings, scale))  # (S_i, A, 7)
        prediction = self.head(features.levels, voxels, torch.cat(anchors))
        prediction.taps |= {f"bev{i + 1}": SiteTap(stage, voxels) for i, stage in enumerate(features.stages)}
        for name, level in zip(neck_names(len(features.levels)), features.levels, strict=True):
            prediction.taps[name] = SiteTap(level.neck, voxels)
        return prediction

    def loss(self, prediction: AnchorPrediction, batch: Batch) -> dict[str, Tensor]:
        return detection_loss(prediction, batch, self._anchors, self.settings.loss, self.settings.head)

    @torch.no_grad()
    def detect(self, prediction: AnchorPrediction) -> list[Detections]:
        return detect(prediction, self.settings.nms, self.settings.head.direction_offset)


def neck_names(levels: int) -> list[str]:
    """Taps of the neck's levels: neck, and of coarser ones neck2, neck3."""
    return ["neck", *(f"neck{number}" for number in range(2, levels + 1))]
