"""Weights that other frameworks have published, as checkpoints of our detectors."""

from mink_pd.convert.agreement import check_settings, check_stated
from mink_pd.convert.dialects import DIALECTS, Dialect
from mink_pd.convert.intensity import intensity_columns, largest_intensity
from mink_pd.convert.tensor_files import Stated, read_stated, read_tensors
from mink_pd.convert.verify import Difference, verify
from mink_pd.convert.weights import MisfitError, convert, is_counter, published_detector, serves_training

__all__ = [
    "DIALECTS",
    "Dialect",
    "Difference",
    "MisfitError",
    "Stated",
    "check_settings",
    "check_stated",
    "convert",
    "intensity_columns",
    "is_counter",
    "largest_intensity",
    "published_detector",
    "read_stated",
    "read_tensors",
    "serves_training",
    "verify",
]
