"""Settings for distillation on frames without labels."""

from pydantic import Field, model_validator

from mink_pd.config.section import Count, Folder, Positive, Section, Share


class UnlabelledConfig(Section):
    """Frames without labels, on which the teacher's boxes replace labels (docs/unlabelled.md).

    paths: folders of clouds, raw drives, recordings, and ROOT:SPLIT for a split, whose labels are not read. Without
    paths there are no unlabelled frames. upper, lower: for each class, a box with a score of at least ``upper`` is an
    object, a box below ``lower`` is background, and boxes between the two are ignored. Scores that are not given are
    chosen on labelled frames: each is the lowest score such that at least ``upper_precision`` (or ``lower_precision``)
    of the boxes at or above it are correct, with a BEV IoU of at least ``min_iou``.
    """

    paths: list[str] = Field(default_factory=list)
    topic: str | None = None  # of a recording
    calib: Folder | None = None  # KITTI calib file, or a folder of them, to crop to the camera's view
    share: float = Field(0.5, gt=0, le=1)  # of unlabelled frames in each batch; 1: train without labels
    boxes: Folder | None = None  # folder with a detection file per frame, used instead of the teacher's boxes
    upper: dict[str, float] = Field(default_factory=dict)
    lower: dict[str, float] = Field(default_factory=dict)
    upper_precision: Share = 0.9
    lower_precision: Share = 0.5
    min_iou: Positive = Field(0.5, le=1)
    held_out: str | None = None  # split on which the scores are chosen, SPLIT or ROOT:SPLIT; None: the training frames
    held_out_frames: Count = 200  # number of its frames, evenly spaced

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
        """The numbers of labelled and unlabelled frames in a batch of ``size``. Raises ValueError if one of them is
        zero, unless ``share`` is 1."""
        unlabelled = round(self.share * size)
        if unlabelled == 0 or (unlabelled == size and self.share < 1):
            raise ValueError(
                f"share {self.share:g} of {size} frames leaves no {'un' * (unlabelled == 0)}labelled one in a batch;"
                " change train.batch_size or distill.unlabelled.share"
            )
        return size - unlabelled, unlabelled
