"""PointDistiller (Zhang et al., CVPR 2023)."""
