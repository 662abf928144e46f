"""How strongly a method's gradient acts on the student relative to the detection loss, to choose comparable weights."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mink_pd.data.loading.batch import Batch
from mink_pd.distill.distiller import Distiller


def gradient_share(distiller: Distiller, batches: Iterable[Batch]) -> tuple[float, float]:
    """The ratio of gradient norms on the student, distillation loss over detection loss, and the distillation loss.

    Both are means over the ``batches`` with anything to detect, and 0 without any. Nothing is trained. Terms are not
    normalised (cf. Chen et al., ICML 2018, who balance such norms during training).
    """
    student = list(distiller.detector.parameters())
    shares, sums = [], []
    for batch in batches:
        losses, _ = distiller(batch)
        own = {key: loss for key, loss in losses.items() if key.startswith(tuple(distiller.methods))}
        detection = sum(loss for key, loss in losses.items() if key not in own)
        distillation = sum(own.values())
        if norm := _norm(detection, student):
            shares.append(_norm(distillation, student) / norm)
            sums.append(sum(float(loss.detach()) for loss in own.values()))
    return sum(shares) / max(len(shares), 1), sum(sums) / max(len(sums), 1)


def _norm(loss: Tensor | int, parameters: list[torch.nn.Parameter]) -> float:
    if not isinstance(loss, Tensor):  # no terms, or frames without points
        return 0.0
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return float(sum(gradient.square().sum() for gradient in gradients if gradient is not None)) ** 0.5
