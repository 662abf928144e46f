"""Optimiser, schedule and the moving average of the weights."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from mink_pd.config import TrainConfig


def make_optimiser(parameters: Iterable[nn.Parameter], config: TrainConfig) -> AdamW:
    """AdamW over the trainable parameters; frozen ones are excluded."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    # The fused kernel takes a quarter of the time, but gradients cannot be clipped between it and a gradient scaler.
    fused = config.precision != "16-mixed"
    return AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def make_schedule(optimiser: AdamW, config: TrainConfig, steps: int) -> OneCycleLR:
    """One-cycle schedule over ``steps`` optimiser steps, with the usual settings of published LiDAR detectors.

    The learning rate rises from a tenth of its peak to the peak in the first ``warm_up`` share of the steps, then falls
    to nearly zero along a cosine; beta1 goes from 0.95 to 0.85 and back (Smith and Topin 2018; SECOND, Yan et al.
    2018).
    """
    peak = config.warm_up
    if peak * steps == 1:  # torch divides by zero if the peak is exactly the first step
        peak *= 1 + 1e-6
    return OneCycleLR(optimiser, max_lr=config.learning_rate, total_steps=steps, pct_start=peak, div_factor=10)


class MovingAverage:
    """Exponential moving average of all tensors of a module's state (integers are copied).

    The decay after n updates is min(decay, (1 + n) / (10 + n)), so that the first weights do not dominate
    a short run. Kept as plain tensors because MinkowskiEngine's layers do not survive ``copy.deepcopy``,
    which ``torch.optim.swa_utils.AveragedModel`` needs.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Update the average with the current state of ``module``."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside the context, ``module`` holds the averaged state; on exit its own state is restored."""
        own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """The state that a checkpoint stores."""
        return {"updates": self.updates, "tensors": self.tensors}

    def load_state_dict(self, state: dict) -> None:
        """Restore a stored state on the current device."""
        self.updates = state["updates"]
        for name, tensor in self.tensors.items():
            tensor.copy_(state["tensors"][name])
