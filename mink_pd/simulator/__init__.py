"""A LiDAR simulator that writes KITTI's object layout and raw drives, where the real data are not at hand.

scene (street, ground, actors, clutter: what there is) -> sensor (what comes back) -> labels -> write, drive.
"""

from mink_pd.simulator.drive import DATE, DRIVE
from mink_pd.simulator.write import Settings, Summary, simulate, simulate_frame

__all__ = ["DATE", "DRIVE", "Settings", "Summary", "simulate", "simulate_frame"]
