"""Data sets, which yield frames of points and boxes in the LiDAR frame."""

from mink_pd.data.dataset import Dataset, View, open_dataset, open_split, view_of, whole_frames
from mink_pd.data.loading.training import open_training

__all__ = [
    "Dataset",
    "View",
    "open_dataset",
    "open_split",
    "open_training",
    "view_of",
    "whole_frames",
]
