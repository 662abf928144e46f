"""Detectors from points to boxes, one file each."""

from mink_pd.config import Config
from mink_pd.models.detector import AnchorPrediction, Detections, Detector, Prediction
from mink_pd.registry import DETECTORS


def build_detector(config: Config) -> Detector:
    """The detector that ``config.model`` describes, for the classes and range of ``config.data``."""
    return DETECTORS[config.model.name](config)


__all__ = ["AnchorPrediction", "Detections", "Detector", "Prediction", "build_detector"]
