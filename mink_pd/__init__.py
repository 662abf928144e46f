"""PointDistiller on MinkowskiEngine: small LiDAR 3D detectors trained from large ones."""

__version__ = "0.1.0"
