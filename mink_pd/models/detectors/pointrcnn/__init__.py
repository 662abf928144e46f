"""PointRCNN (Shi, Wang, Li; CVPR 2019): every point proposes a box, and the points inside a proposal refine it."""

from mink_pd.models.detectors.pointrcnn.pointrcnn import PointRCNN

__all__ = ["PointRCNN"]
