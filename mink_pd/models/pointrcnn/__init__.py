"""PointRCNN (Shi, Wang, Li; CVPR 2019): boxes proposed from every point, then refined from the points within them."""

from mink_pd.models.pointrcnn.pointrcnn import PointRCNN

__all__ = ["PointRCNN"]
