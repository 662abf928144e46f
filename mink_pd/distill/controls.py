"""Controls: a loss whose teacher knows less. A gain that stays with it is not knowledge that was passed on."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mink_pd.models import Detector, Prediction, build_detector
from mink_pd.sparse import with_features


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


def shuffled(prediction: Prediction) -> Prediction:
    """The same prediction with the rows of every tap permuted within each frame.

    Taps of one coordinate map share a permutation, so that a site's class and box stay together. Drawn from torch's
    generator, whose state is part of a checkpoint: the run's seed decides.
    """
    orders: dict[str, Tensor] = {}
    taps = {}
    for name, tap in prediction.taps.items():
        order = orders.setdefault(str(tap.key), permutation(tap.frame))
        taps[name] = replace(tap, tensor=with_features(tap.tensor, tap.features[order]))
    return replace(prediction, taps=taps)


def permutation(frame: Tensor) -> Tensor:
    """A random order (M,) int64 in which every row is replaced by one of its own ``frame`` (M,)."""
    order = torch.arange(len(frame), device=frame.device)
    for index in torch.unique(frame):
        here = torch.nonzero(frame == index)[:, 0]
        order[here] = here[torch.randperm(len(here)).to(frame.device)]
    return order
