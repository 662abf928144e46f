"""A LiDAR simulator that writes the schema of nuScenes (Caesar et al., CVPR 2020), readable by its devkit.

The stages: town (moving bodies) -> lidar (points) -> drive (the rows of one scene) -> tables, write (files).
"""

from mink_pd.simulator.nuscenes.write import SPLITS, Settings, Summary, simulate

__all__ = ["SPLITS", "Settings", "Summary", "simulate"]
