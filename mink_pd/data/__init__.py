"""Data sets, which yield frames of points and boxes in the LiDAR frame."""

from mink_pd.data.dataset import Dataset, View, open_dataset, view_of, whole_frames

__all__ = ["Dataset", "View", "open_dataset", "view_of", "whole_frames"]
