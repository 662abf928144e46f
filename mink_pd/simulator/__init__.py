"""A LiDAR simulator that writes KITTI's object layout and raw drives, for use without the real data.

The stages: scene (street, ground, actors, clutter) -> sensor (points) -> labels -> write, drive (files).
"""

from mink_pd.simulator.drive import DATE, DRIVE
from mink_pd.simulator.write import Settings, Summary, simulate, simulate_frame

__all__ = ["DATE", "DRIVE", "Settings", "Summary", "simulate", "simulate_frame"]
