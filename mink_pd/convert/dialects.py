"""How other frameworks name the layers of detectors, and what their numbers mean."""

from collections.abc import Container
from dataclasses import dataclass

from torch import Tensor

from mink_pd.convert import anchor_names, center_names, point_names
from mink_pd.convert.anchor_names import AnchorNames
from mink_pd.convert.bev_names import Names
from mink_pd.convert.center_names import CenterNames
from mink_pd.convert.point_names import PointNames
from mink_pd.errors import ConfigError
from mink_pd.models import Detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.detectors.centerpoint import CenterDetector
from mink_pd.models.detectors.pointrcnn import PointRCNN


@dataclass(frozen=True)
class Dialect:
    """weights: the key of a file that holds the tensors. The names of PointRCNN's, PointPillars' and SECOND's, and
    CenterPoint's modules; None where the framework has published no weights of them."""

    weights: str
    points: PointNames | None
    anchors: AnchorNames | None
    centers: CenterNames

    def modules(self, detector: Detector) -> Names:
        """Names of every module with weights: theirs, ours. Raises ConfigError for a detector without published
        weights."""
        if isinstance(detector, CenterDetector):
            return self.centers.modules(detector)
        if isinstance(detector, PointRCNN) and self.points is not None:
            return self.points.modules(detector)
        if isinstance(detector, AnchorDetector) and self.anchors is not None:
            return self.anchors.modules(detector)
        raise ConfigError(f"--format: it has no published weights of {detector.config.model.name}; name another one")

    def biases(self, detector: Detector, found: Container[str]) -> Names:
        """Their biases right before a norm, which ours have not, and the running mean that they are taken from."""
        if isinstance(detector, CenterDetector):
            yield from self.centers.biases(detector, found)
        if isinstance(detector, PointRCNN) and self.points is not None:
            yield from self.points.biases(detector)

    def adapt(self, detector: Detector, name: str, tensor: Tensor) -> Tensor:
        """Their tensor, with kernels in our layout, as one for our kinds and order of numbers; ``name`` is ours."""
        return self.centers.adapt(detector, name, tensor) if isinstance(detector, CenterDetector) else tensor


DIALECTS = {
    "openpcdet": Dialect("model_state", point_names.OPENPCDET, anchor_names.OPENPCDET, center_names.OPENPCDET),
    "mmdet3d": Dialect("state_dict", point_names.MMDET3D, anchor_names.MMDET3D, center_names.MMDET3D),
    "det3d": Dialect("state_dict", None, None, center_names.DET3D),
}
