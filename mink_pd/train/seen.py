"""Counts of what an epoch contained, to detect a training that has nothing to learn from."""

import warnings

import torch

from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch
from mink_pd.errors import MinkPDError
from mink_pd.processes import processes, sum_over_processes


class Seen:
    """Counts of one epoch over all processes: points and objects given to the detector, and points left out."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.frames = self.labelled = self.points = self.objects = self.dropped = 0

    def add(self, batch: Batch) -> None:
        """Count a batch of this process."""
        self.frames += len(batch)
        self.points += len(batch.points)
        own = [frame.labelled for frame in batch.frames]
        self.labelled += sum(own)
        self.objects += sum(len(boxes) for boxes, labelled in zip(batch.boxes, own, strict=True) if labelled)
        self.dropped += sum(frame.dropped for frame in batch.frames)

    def check(self, where: object, means: dict[str, float]) -> None:
        """Check the counts; every process calls this after the epoch, with the means of the losses.

        Raises MinkPDError if no point was in range, no object was left, or no object was matched: the training would
        run to its end and learn nothing. Of an epoch of a single frame, which may well hold no object, it only warns.
        """
        counts = torch.tensor(
            [self.frames, self.labelled, self.points, self.objects, self.dropped],
            dtype=torch.float64,
            device=self.device,
        )
        if processes() > 1:
            counts = sum_over_processes(counts)
        self.frames, self.labelled, self.points, self.objects, self.dropped = map(int, counts.tolist())
        data, boxes = self.config.data, [value for name, value in means.items() if name.split(".")[-1].endswith("box")]
        if not self.points:
            what = f"no point of any training frame lies in data.range {list(data.range)}"
            remedy = "set a range that the clouds fill; x is forward, y left, z up, in metres"
        elif not self.labelled and not means.get("unlabelled/kept"):
            what = "no box in the unlabelled frames was sure enough to be an object"
            remedy = "lower distill.unlabelled.upper, or its upper_precision, or train a better teacher"
        elif self.labelled and not self.objects:
            what = f"no training frame has a labelled {', '.join(data.classes)} with a point in data.range"
            remedy = "check data.classes against the labels, and data.range"
        elif boxes and not any(boxes):
            objects = f"{self.objects} labelled objects" if self.labelled else "objects in the unlabelled frames"
            what = f"none of the {objects} became a positive of the detector"
            remedy = "check the sizes, heights and thresholds of model.anchors, or model.voxel_size"
        else:
            return
        text = f"{where}: {what}, so nothing can be learnt; {remedy}, and start again with --force"
        if self.frames > 1 or not self.points:
            raise MinkPDError(text)
        warnings.warn(text, stacklevel=2)
