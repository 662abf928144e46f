"""PointDistiller on MinkowskiEngine: small LiDAR 3D detectors trained from large ones."""

from mink_pd import threads  # noqa: F401  # before anything loads the libraries that it is about

__version__ = "0.1.0"
