"""Weights that other frameworks have published, as checkpoints of our detectors."""

from mink_pd.convert.dialects import DIALECTS, Dialect
from mink_pd.convert.tensor_files import read_tensors
from mink_pd.convert.verify import Difference, verify
from mink_pd.convert.weights import MisfitError, convert, published_detector, serves_training

__all__ = [
    "DIALECTS",
    "Dialect",
    "Difference",
    "MisfitError",
    "convert",
    "published_detector",
    "read_tensors",
    "serves_training",
    "verify",
]
