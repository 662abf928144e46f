"""A LiDAR simulator that writes the schema of nuScenes (Caesar et al., CVPR 2020), as its devkit reads it.

town (bodies: what there is and how it moves) -> lidar (what comes back) -> drive (one scene's rows) -> tables, write.
"""

from mink_pd.simulator.nuscenes.write import SPLITS, Settings, Summary, simulate

__all__ = ["SPLITS", "Settings", "Summary", "simulate"]
