"""The intensity in a network's first layer: ours is 0..1, and the frameworks' is as their files have it."""

from collections.abc import Iterator

from torch import Tensor

from mink_pd.config import Config
from mink_pd.models import Detector
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.detectors.pointrcnn import PointRCNN
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.models.layers.sparse_encoder import SparseEncoder

_COLUMN = 3  # of a point


def largest_intensity(config: Config) -> float:
    """The largest intensity that the frameworks' networks see in this data set, whose values they do not divide."""
    return 255.0 if config.data.kind == "nuscenes" else 1.0


def rescale_intensity(tensors: dict[str, Tensor], detector: Detector, largest: float) -> None:
    """Turn weights for intensities of 0..``largest`` into weights for 0..1, in place.

    tensors: the state dict of ``detector``. A detector that sees no intensity keeps its weights.
    """
    for name, column in intensity_columns(detector):
        tensors[name].select(1, column).mul_(largest)


def intensity_columns(detector: Detector) -> Iterator[tuple[str, int]]:
    """The tensors that are multiplied with a point's intensity: name, and place along axis 1."""
    if isinstance(detector, PointRCNN):
        for scale in range(len(detector.settings.stages[0].radii)):
            yield f"backbone.down.0.mlps.{scale}.first.weight", _COLUMN  # after the offsets x, y, z
    elif isinstance(detector, BevDetector) and isinstance(detector.encoder, PillarFeatureNet):
        if _COLUMN in detector.encoder.columns:
            first = "hidden.0.linear" if detector.encoder.hidden else "linear"
            yield f"encoder.{first}.weight", detector.encoder.columns.index(_COLUMN)
    elif isinstance(detector, BevDetector) and isinstance(detector.encoder, SparseEncoder):
        yield "encoder.first.0.convolution.kernel", _COLUMN
