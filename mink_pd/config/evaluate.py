"""Settings of the evaluation: what counts as a match."""

from typing import Annotated

from pydantic import Field

from mink_pd.config.section import Section


class EvaluateConfig(Section):
    """How detections are scored."""

    scorer: str | None = None  # kitti, nuscenes, clouds or a plugin's; None: that of the data set
    min_iou: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(default_factory=dict)
    # class -> IoU that a match must exceed; classes not named here: 0.7 for Car, else 0.5
    image_rules: bool | None = None  # KITTI's limits on image boxes; None: where the labels' boxes fit the calibration
    min_points: int = Field(1, ge=0)  # clouds: objects with fewer points inside are ignored
