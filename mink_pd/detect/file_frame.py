"""Detections in the frame of their cloud's file, in which they are written and read like labels (``data.axes``)."""

from dataclasses import replace

import numpy as np

from mink_pd.data.clouds.cloud_labels import moved
from mink_pd.detect.predict import FrameDetections


def in_file_frame(found: FrameDetections, to_lidar: np.ndarray | None) -> FrameDetections:
    """Detections in the frame and unit of the cloud's file.

    to_lidar: ``Frame.to_lidar``, transform (4, 4) from that frame to the LiDAR frame of ``found``; None: they are one.
    """
    return found if to_lidar is None else _moved(found, np.linalg.inv(to_lidar))


def in_lidar_frame(found: FrameDetections, to_lidar: np.ndarray | None) -> FrameDetections:
    """The inverse of :func:`in_file_frame`, for detections that were read."""
    return found if to_lidar is None else _moved(found, to_lidar)


def _moved(found: FrameDetections, transform: np.ndarray) -> FrameDetections:
    velocities = found.velocities
    if velocities is not None:
        velocities = velocities @ transform[:2, :2].T.astype(velocities.dtype)
    return replace(found, boxes=moved(found.boxes, transform), velocities=velocities)
