"""The detection loss of CenterPoint (Yin et al., CVPR 2021, section 4.1)."""

import torch
from torch import Tensor

from mink_pd.config.centerpoint import CenterLossConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.heads.center_head import CenterPrediction
from mink_pd.models.heads.center_targets import CenterTargets, center_targets, decode, encode

_MARGIN = 1e-4  # probabilities are clipped to this distance from 0 and 1, as published


def gaussian_focal_loss(logits: Tensor, heatmap: Tensor) -> Tensor:
    """Focal loss of every logit (CornerNet, Law & Deng 2018, equation 1) with alpha 2 and beta 4.

    A target is positive if the heatmap is 1.
    """
    p = torch.sigmoid(logits).clamp(_MARGIN, 1 - _MARGIN)
    positive = -(1 - p).square() * p.log()
    negative = -p.square() * (1 - heatmap) ** 4 * (1 - p).log()
    return torch.where(heatmap == 1, positive, negative)


def center_loss(
    prediction: CenterPrediction,
    batch: Batch,
    task_of: Tensor,
    bounds: tuple[float, ...],
    settings: CenterLossConfig,
) -> dict[str, Tensor]:
    """Weighted terms ``heatmap``, ``box`` and, if they are predicted, ``velocity`` and ``iou``.

    Each term is normalised by the number of objects per frame and task, summed over the tasks, and averaged over the
    frames. The published loss normalises by all objects of the batch, which would depend on the distribution of frames
    to processes.
    task_of: (classes,), the task of each class.
    """
    targets = center_targets(prediction, batch, bounds, settings)
    task = task_of[targets.label]  # (N,)
    frame, tasks = prediction.frame[targets.site], int(task_of.max()) + 1  # (N,)
    objects = torch.zeros(prediction.frames, tasks, device=prediction.scores.device)
    objects.index_put_((frame, task), torch.ones(len(task), device=objects.device), accumulate=True)
    share = batch.weight / (objects.clamp(min=1) * prediction.frames)  # (frames, tasks)

    each = gaussian_focal_loss(prediction.scores, targets.heatmap) * ~targets.ignored  # (S, classes)
    own = share[frame, task]  # (N,)
    terms = {"heatmap": settings.heatmap * (each * share[prediction.frame][:, task_of]).sum()}
    wanted = encode(targets.boxes, prediction.corners[targets.site], prediction.cell)  # (N, CODE)
    said = prediction.boxes[targets.site, task]
    terms["box"] = settings.box * ((said - wanted).abs().sum(dim=1) * own).sum()
    if prediction.velocities is not None:
        known = ~targets.velocities.isnan()
        off = (prediction.velocities[targets.site, task] - targets.velocities.nan_to_num()).abs() * known
        terms["velocity"] = settings.velocity * (off.sum(dim=1) * own).sum()
    if prediction.ious is not None:
        off = (prediction.ious[targets.site, task] - iou_targets(prediction, targets, said)).abs()
        terms["iou"] = settings.iou * (off * own).sum()
    return terms


@torch.no_grad()
def iou_targets(prediction: CenterPrediction, targets: CenterTargets, code: Tensor) -> Tensor:
    """2 IoU - 1 (N,) of the sites' predicted boxes (N, CODE) with their objects."""
    boxes = decode(code, prediction.corners[targets.site], prediction.cell)
    from mink_pd.boxes.iou import iou_3d  # needs numba, 0.15 s of imports that the engine does without

    overlap = iou_3d(*(each.double().cpu().numpy() for each in (boxes, targets.boxes))).diagonal()
    return 2 * torch.from_numpy(overlap.copy()).to(code) - 1
