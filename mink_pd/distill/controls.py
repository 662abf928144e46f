"""Controls: a loss whose teacher knows less. A gain that stays with it is not knowledge that was passed on."""

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

    Random weights are a fresh initialisation, which leaves the random state as it was: students and adapters start
    alike under every control. Running statistics of batch norm belong to other weights, so the batch's own take
    their place; else the features' scale, not what they say, would decide what a control does.
    """
    with torch.random.fork_rng(devices=[]):
        result = build_detector(teacher.config)
    with torch.no_grad():
        for weight, theirs in zip(result.parameters(), teacher.parameters(), strict=True):
            weight.lerp_(theirs.to(weight.device), share)
    result.eval().requires_grad_(False)
    for module in result.modules():
        if any(isinstance(child, _BatchNorm) for child in module.children()):
            module.training = True  # the block too: in eval mode it folds the running statistics into its convolution
        if isinstance(module, _BatchNorm):
            module.train()
    return result


class ShuffledTap:
    """A tap whose features stand in another order; everything else is the tap's."""

    def __init__(self, tap: Tap, order: Tensor) -> None:
        self._tap, self.features = tap, tap.features[order]  # (M, C)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tap, name)


def shuffled(pairs: list[TapPair], orders: dict[int, Tensor]) -> list[TapPair]:
    """The pairs with the teacher's rows permuted within each frame.

    ``orders`` keeps a batch's permutations by the number of rows, so that taps of one coordinate map share theirs and
    a site's class and box stay together. Drawn from torch's generator, whose state is in the training's checkpoint:
    the run's seed decides, and a resumed run goes on with the same ones.
    """
    result = []
    for pair in pairs:
        frame = pair.teacher.frame
        if len(frame) not in orders:
            orders[len(frame)] = permutation(frame)
        tap = ShuffledTap(pair.teacher, orders[len(frame)])
        result.append(replace(pair, teacher=cast(Tap, tap)))
    return result


def permutation(frame: Tensor) -> Tensor:
    """A random order (M,) int64 in which every row is replaced by one of its own ``frame`` (M,)."""
    order = torch.arange(len(frame), device=frame.device)
    for index in torch.unique(frame):
        here = torch.nonzero(frame == index)[:, 0]
        order[here] = here[torch.randperm(len(here)).to(frame.device)]
    return order
