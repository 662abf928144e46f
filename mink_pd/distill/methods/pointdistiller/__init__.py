"""PointDistiller (Zhang et al., CVPR 2023)."""

from mink_pd.distill.methods.pointdistiller.method import PointDistiller, PointDistillerConfig, weights

__all__ = ["PointDistiller", "PointDistillerConfig", "weights"]
