"""Regions of interest: proposals of the first stage, and those that the second stage is trained on."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mink_pd.boxes.iou import iou_3d
from mink_pd.config.pointrcnn import ProposalConfig, RoIConfig
from mink_pd.models.decode import suppress

# Largest random move of a region in training; PointRCNN names the augmentation and leaves its size open.
_SHIFT, _TURN, _GROWTH = 0.5, math.pi / 12, 0.15  # [m], [rad], share of the size


@dataclass
class Regions:
    """boxes (R, 7), labels int64 (R,), scores (R,) [0..1], frame int64 (R,): which of the sample's frames."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    frame: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor) -> "Regions":
        return Regions(self.boxes[rows], self.labels[rows], self.scores[rows], self.frame[rows])

    @classmethod
    def join(cls, parts: list["Regions"]) -> "Regions":
        """All of them, in order."""
        names = ("boxes", "labels", "scores", "frame")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def propose(points: Regions, distance: Tensor, frames: int, settings: ProposalConfig, training: bool) -> Regions:
    """Of each frame the best boxes of its points after rotated NMS, near ones and far ones by their shares.

    points: the box of every point; distance (S,): the points' own [m] (PointRCNN, section 4.1).
    """
    after = settings.train if training else settings.test
    iou = settings.train_iou if training else settings.test_iou
    parts = []
    for frame in range(frames):
        for near in (True, False):
            share = settings.near_share if near else 1 - settings.near_share
            here = torch.nonzero((points.frame == frame) & ((distance <= settings.near) == near))[:, 0]
            best = points.scores[here].topk(min(len(here), round(share * settings.before))).indices
            boxes = points[here[best]]
            parts.append(boxes[suppress(boxes.boxes, boxes.scores, iou, round(share * after))])
    return Regions.join(parts)


@dataclass
class RegionTargets:
    """scores (R,): 1 the object, 0 not, -1 undecided; boxes (R, 7): the object's; regressed bool (R,): near enough."""

    scores: Tensor
    boxes: Tensor
    regressed: Tensor


@torch.no_grad()
def sample_regions(
    regions: Regions, boxes: list[Tensor], labels: list[Tensor], settings: RoIConfig
) -> tuple[Regions, RegionTargets]:
    """``settings.sampled`` regions of each frame and their targets (PointRCNN, section 4.1).

    boxes (B_f, 7), labels (B_f,): the objects of each of the sample's frames. An object answers for regions of its own
    class. Positives, and hard and easy negatives, in their shares; drawn with repetition where there are too few.
    Positives are moved at random as far as their overlap allows. Draws from torch's generator.
    """
    chosen, targets = [], []
    for frame, (objects, classes) in enumerate(zip(boxes, labels, strict=True)):
        here = regions[torch.nonzero(regions.frame == frame)[:, 0]]
        if settings.labelled:
            ones = objects.new_ones(len(objects))
            here = Regions.join([here, Regions(objects, classes, ones, torch.full_like(classes, frame))])
        overlap, own = best_overlap(here, objects, classes)  # (R,), (R,)
        rows = draw(overlap, settings)
        here, own = here[rows], own[rows]
        if len(objects):
            target = objects[own]
            here.boxes, overlap = jitter(here.boxes, target, overlap[rows], settings)
        else:
            target, overlap = torch.zeros_like(here.boxes), overlap[rows]
        score = torch.where(overlap >= settings.foreground, 1.0, -1.0)
        score[overlap < settings.background] = 0
        chosen.append(here)
        targets.append(RegionTargets(score, target, overlap >= settings.regressed))
    names = ("scores", "boxes", "regressed")
    joined = RegionTargets(*(torch.cat([getattr(t, name) for t in targets]) for name in names))
    return Regions.join(chosen), joined


def best_overlap(regions: Regions, objects: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Largest 3D IoU (R,) of each region with an object (B, 7) of its class, and that object's row (R,)."""
    if len(objects) == 0:
        return torch.zeros_like(regions.scores), torch.zeros_like(regions.labels)
    iou = torch.from_numpy(iou_3d(regions.boxes.cpu().numpy(), objects.cpu().numpy())).to(regions.scores)  # (R, B)
    best = (iou * (regions.labels[:, None] == classes)).max(dim=1)
    return best.values, best.indices


def draw(overlap: Tensor, settings: RoIConfig) -> Tensor:
    """Rows (sampled,) of regions by their overlap (R,): positives first, then hard, then easy negatives."""
    positive = torch.nonzero(overlap >= min(settings.regressed, settings.foreground))[:, 0]
    hard = torch.nonzero((overlap < settings.background) & (overlap >= settings.easy))[:, 0]
    easy = torch.nonzero(overlap < settings.easy)[:, 0]
    negatives = len(hard) + len(easy)
    count = settings.sampled
    wanted = min(len(positive), round(settings.foreground_share * count)) if negatives else count
    if len(positive) == 0 and negatives == 0:  # all lie in between: nothing is learnt from them
        return torch.arange(count, device=overlap.device) % len(overlap)
    parts = [_pick(positive, wanted)] if len(positive) else []
    rest = count - sum(map(len, parts))
    harder = rest if len(easy) == 0 else round(settings.hard_share * rest) if len(hard) else 0
    parts += [_pick(hard, harder), _pick(easy, rest - harder)]
    return torch.cat(parts)


def _pick(rows: Tensor, count: int) -> Tensor:
    """``count`` of the rows, each once if there are enough, else with repetition."""
    if count <= len(rows):
        return rows[torch.randperm(len(rows))[:count].to(rows.device)]
    return rows[torch.randint(len(rows), (count,)).to(rows.device)]


def jitter(boxes: Tensor, objects: Tensor, overlap: Tensor, settings: RoIConfig) -> tuple[Tensor, Tensor]:
    """Boxes (R, 7) moved at random, and their overlap (R,) with their objects (R, 7) afterwards.

    A positive takes the first of ``settings.jitter`` moves that leaves it a positive, or stays; others take any.
    """
    tries, lowest = settings.jitter, min(settings.regressed, settings.foreground)
    if tries == 0:
        return boxes, overlap
    moved = boxes.cpu().numpy()[:, None].repeat(tries, axis=1).astype(np.float64)  # (R, tries, 7)
    noise = (2 * torch.rand(moved.shape, dtype=torch.float64) - 1).numpy()
    noise *= torch.rand(*moved.shape[:2], 1, dtype=torch.float64).numpy()  # small moves are as likely as large ones
    moved[..., :3] += _SHIFT * noise[..., :3]
    moved[..., 3:6] *= 1 + _GROWTH * noise[..., 3:6]
    moved[..., 6] += _TURN * noise[..., 6]
    kept, result = boxes.clone(), overlap.clone()
    for row, (before, object_) in enumerate(zip(overlap.tolist(), objects.cpu().numpy(), strict=True)):
        count = tries if before >= lowest else 1
        iou = iou_3d(moved[row, :count], object_[None])[:, 0]
        fits = np.flatnonzero(iou >= lowest) if before >= lowest else np.array([0])
        if len(fits):
            kept[row] = torch.from_numpy(moved[row, fits[0]])
            result[row] = float(iou[fits[0]]) if before > 0 else 0.0
    return kept, result
