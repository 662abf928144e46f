"""Controls: the same loss with a teacher that knows less. A gain that a control keeps is not transferred knowledge."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mink_pd.distill.pairs import TapPair
from mink_pd.models import Detector, build_detector
from mink_pd.models.taps import Tap


def averaged(teacher: Detector, share: float) -> Detector:
    """A frozen detector whose weights are ``share`` w + (1 - share) random; 0 gives a teacher of random weights.

    Random weights are a fresh initialisation. It restores the random state, so that students and adapters start alike
    under every control. The running statistics of batch norm belong to the trained weights, so the averaged teacher
    uses the statistics of each batch. Otherwise the scale of its features would decide what a control does.
    """
    with torch.random.fork_rng(devices=[]):
        result = build_detector(teacher.config)
    with torch.no_grad():
        for weight, theirs in zip(result.parameters(), teacher.parameters(), strict=True):
            weight.lerp_(theirs.to(weight.device), share)
    result.eval().requires_grad_(False)
    for module in result.modules():
        if any(isinstance(child, _BatchNorm) for child in module.children()):
            module.training = True  # the block too: in eval mode it folds running statistics into its convolution
        if isinstance(module, _BatchNorm):
            module.train()
    return result


class ShuffledTap:
    """A tap with its features in another order; everything else is the tap's own."""

    def __init__(self, tap: Tap, order: Tensor) -> None:
        self._tap, self.features = tap, tap.features[order]  # (M, C)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tap, name)


def shuffled(pairs: list[TapPair], orders: list[tuple[Tensor, Tensor]]) -> list[TapPair]:
    """The pairs with the teacher's rows permuted within each frame.

    ``orders`` keeps the rows' frames and the permutation, so that taps on one coordinate map share it and a site's
    class and box stay together. The permutations come from torch's generator, whose state is in the training
    checkpoint: they follow the run's seed, and a resumed run continues with the same sequence.
    """
    result = []
    for pair in pairs:
        frame = pair.teacher.frame
        order = next((order for other, order in orders if torch.equal(other, frame)), None)
        if order is None:
            order = permutation(frame)
            orders.append((frame, order))
        result.append(replace(pair, teacher=cast(Tap, ShuffledTap(pair.teacher, order))))
    return result


def permutation(frame: Tensor) -> Tensor:
    """A random order (M,) int64 in which every row is replaced by one of its own ``frame`` (M,)."""
    order = torch.arange(len(frame), device=frame.device)
    for index in torch.unique(frame):
        here = torch.nonzero(frame == index)[:, 0]
        order[here] = here[torch.randperm(len(here)).to(frame.device)]
    return order
