"""Settings of frames without labels in distillation."""

from pydantic import Field, model_validator

from mink_pd.config.section import Count, Folder, Positive, Section, Share


class UnlabelledConfig(Section):
    """Frames without labels, which train the student with the teacher's boxes in place of labels (docs/unlabelled.md).

    paths: folders of clouds, raw drives, recordings, and ROOT:SPLIT for a split, whose labels are not read; none
    switches it off. topic: of a recording. calib: KITTI calib file of all clouds, or a folder of such files, to cut the
    clouds to the camera's view. share: of the frames of each batch; 1 trains without any label. boxes: a folder with a
    detection file per frame in place of the teacher's boxes. upper, lower: per class the score from which a box is an
    object, and the score below which it is background; boxes between the two are ignored. Where they are not given they
    are chosen on labelled frames: the lowest score from which on at least ``upper_precision`` (or ``lower_precision``)
    of the boxes are right, by an overlap from above of ``min_iou`` or more. held_out: the split of these frames, SPLIT
    or ROOT:SPLIT; None: the training frames. held_out_frames: how many of them, evenly spaced.
    """

    paths: list[str] = Field(default_factory=list)
    topic: str | None = None
    calib: Folder | None = None
    share: float = Field(0.5, gt=0, le=1)
    boxes: Folder | None = None
    upper: dict[str, float] = Field(default_factory=dict)
    lower: dict[str, float] = Field(default_factory=dict)
    upper_precision: Share = 0.9
    lower_precision: Share = 0.5
    min_iou: Positive = Field(0.5, le=1)
    held_out: str | None = None
    held_out_frames: Count = 200

    @model_validator(mode="after")
    def _in_order(self) -> "UnlabelledConfig":
        if self.lower_precision > self.upper_precision:
            raise ValueError(
                f"lower_precision {self.lower_precision:g} is above upper_precision {self.upper_precision:g}; exchange"
                " them"
            )
        for name, upper in self.upper.items():
            if self.lower.get(name, upper) > upper:
                raise ValueError(f"lower.{name} {self.lower[name]:g} is above upper.{name} {upper:g}; exchange them")
        return self

    def batch_of(self, size: int) -> tuple[int, int]:
        """How many labelled and unlabelled frames a batch of ``size`` frames has. Raises ValueError if one has none."""
        unlabelled = round(self.share * size)
        if unlabelled == 0 or (unlabelled == size and self.share < 1):
            raise ValueError(
                f"share {self.share:g} of {size} frames leaves no {'un' * (unlabelled == 0)}labelled one in a batch;"
                " change train.batch_size or distill.unlabelled.share"
            )
        return size - unlabelled, unlabelled
