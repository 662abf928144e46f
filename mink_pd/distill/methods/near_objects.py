"""Which sites are near a labelled object."""

from torch import Tensor

from mink_pd.boxes.offsets import box_offsets
from mink_pd.distill.methods.selected_rows import all_rows
from mink_pd.distill.pairs import TapPair


def near_objects(pair: TapPair, share: float) -> list[Tensor]:
    """Rows int64 of each frame whose anchor overlaps an object by more than ``share`` of the object's best anchor.

    An anchor here is the object's own box moved to the site with its heading kept. Methods know no detector's anchors,
    so detectors without anchors can be distilled as well. Overlap is the bird's-eye IoU within the site's frame.
    """
    positions, found = pair.teacher.centres[:, :2], []  # (M, 2)
    for here, boxes in zip(all_rows(pair), pair.batch.boxes, strict=True):
        if len(here) and len(boxes):
            overlap = shifted_iou(positions[here], boxes)  # (m, B)
            here = here[(overlap > share * overlap.amax(dim=0)).any(dim=1)]
        else:
            here = here[:0]
        found.append(here)
    return found


def shifted_iou(positions: Tensor, boxes: Tensor) -> Tensor:
    """Bird's-eye IoU (m, B) of each box (B, 7) with itself moved to each position (m, 2)."""
    along, across = box_offsets(positions[:, None], boxes)  # (m, B) each
    shared = (boxes[:, 3] - along).clamp(min=0) * (boxes[:, 4] - across).clamp(min=0)
    return shared / (2 * boxes[:, 3] * boxes[:, 4] - shared)
