"""Regions of interest: the proposals of the first stage, and the regions on which the second stage is trained."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mink_pd.boxes.iou import iou_3d
from mink_pd.config.pointrcnn import ProposalConfig, RoIConfig
from mink_pd.models.heads.anchor_decode import suppress

# Largest random change of a region in training; PointRCNN mentions the augmentation but not its size.
_SHIFT, _TURN, _GROWTH = 0.5, math.pi / 12, 0.15  # [m], [rad], share of the size


@dataclass
class Regions:
    """R regions of interest."""

    boxes: Tensor  # (R, 7)
    labels: Tensor  # (R,) int64
    scores: Tensor  # (R,) [0..1]
    frame: Tensor  # (R,) int64, number of the frame in the sample

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor) -> "Regions":
        return Regions(self.boxes[rows], self.labels[rows], self.scores[rows], self.frame[rows])

    @classmethod
    def join(cls, parts: list["Regions"]) -> "Regions":
        """The regions of all parts, in order."""
        names = ("boxes", "labels", "scores", "frame")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def propose(points: Regions, distance: Tensor, frames: int, settings: ProposalConfig, training: bool) -> Regions:
    """The best boxes of each frame after rotated NMS, near and far ones in their shares (PointRCNN, section 4.1).

    points: the box of every point.
    distance: (S,) of the points from the sensor [m].
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
    """The targets of R regions."""

    scores: Tensor  # (R,): 1 positive, 0 negative, -1 ignored
    boxes: Tensor  # (R, 7), the object of each region
    regressed: Tensor  # (R,) bool: overlaps its object enough for box regression


@torch.no_grad()
def sample_regions(
    regions: Regions, boxes: list[Tensor], labels: list[Tensor], settings: RoIConfig
) -> tuple[Regions, RegionTargets]:
    """``settings.sampled`` regions of each frame and their targets (PointRCNN, section 4.1).

    boxes: (B_f, 7), objects of each frame of the sample.
    labels: (B_f,), their classes.
    Regions are matched with objects of their class. Positives, hard negatives and easy negatives are drawn in their
    shares, with repetition if there are too few. Positives are then moved at random as far as their overlap allows. The
    draws use torch's generator.
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
    """Largest 3D IoU (R,) of each region with an object (B, 7) of its class, and the row (R,) of that object."""
    if len(objects) == 0:
        return torch.zeros_like(regions.scores), torch.zeros_like(regions.labels)
    iou = torch.from_numpy(iou_3d(regions.boxes.cpu().numpy(), objects.cpu().numpy())).to(regions.scores)  # (R, B)
    best = (iou * (regions.labels[:, None] == classes)).max(dim=1)
    return best.values, best.indices


def draw(overlap: Tensor, settings: RoIConfig) -> Tensor:
    """Rows (sampled,) of regions, drawn by their overlap (R,): positives, then hard negatives, then easy negatives."""
    positive = torch.nonzero(overlap >= min(settings.regressed, settings.foreground))[:, 0]
    hard = torch.nonzero((overlap < settings.background) & (overlap >= settings.easy))[:, 0]
    easy = torch.nonzero(overlap < settings.easy)[:, 0]
    negatives = len(hard) + len(easy)
    count = settings.sampled
    wanted = min(len(positive), round(settings.foreground_share * count)) if negatives else count
    if len(positive) == 0 and negatives == 0:  # all overlaps are between the limits, so there is no target
        return torch.arange(count, device=overlap.device) % len(overlap)
    parts = [_pick(positive, wanted)] if len(positive) else []
    rest = count - sum(map(len, parts))
    harder = rest if len(easy) == 0 else round(settings.hard_share * rest) if len(hard) else 0
    parts += [_pick(hard, harder), _pick(easy, rest - harder)]
    return torch.cat(parts)


def _pick(rows: Tensor, count: int) -> Tensor:
    """``count`` random rows, without repetition if there are enough."""
    if count <= len(rows):
        return rows[torch.randperm(len(rows))[:count].to(rows.device)]
    return rows[torch.randint(len(rows), (count,)).to(rows.device)]


def jitter(boxes: Tensor, objects: Tensor, overlap: Tensor, settings: RoIConfig) -> tuple[Tensor, Tensor]:
    """Randomly moved boxes (R, 7), and their overlap (R,) with their objects (R, 7).

    A positive takes the first of ``settings.jitter`` random moves after which it is still positive; if there is none,
    it is not moved. Other regions take the first move.
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
