"""Detectors: one readable file each, from points to boxes."""

from mink_pd.config import Config
from mink_pd.models.detector import AnchorPrediction, Detections, Detector, Prediction
from mink_pd.models.pointpillars import PointPillars
from mink_pd.models.pointrcnn import PointRCNN
from mink_pd.models.second import Second

DETECTORS: dict[str, type[Detector]] = {
    "pointpillars": PointPillars,
    "pointrcnn": PointRCNN,
    "second": Second,
}


def build_detector(config: Config) -> Detector:
    """The detector that ``config.model`` describes, for the classes and range of ``config.data``."""
    return DETECTORS[config.model.name](config)


__all__ = ["DETECTORS", "AnchorPrediction", "Detections", "Detector", "Prediction", "build_detector"]
