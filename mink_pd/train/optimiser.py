"""Optimiser, schedule and the moving average of the weights."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from mink_pd.config import TrainConfig


def make_optimiser(parameters: Iterable[nn.Parameter], config: TrainConfig) -> AdamW:
    """AdamW over the parameters that are trained; frozen ones are left out."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    # One kernel for all parameters takes a quarter of the time; a gradient scaler cannot clip beside it.
    fused = config.precision != "16-mixed"
    return AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def make_schedule(optimiser: AdamW, config: TrainConfig, steps: int) -> OneCycleLR:
    """One cycle over ``steps`` optimiser steps, with the settings that LiDAR detectors are published with.

    From a tenth of the learning rate to all of it in ``warm_up`` of the steps, then down to nearly nothing by
    a cosine; beta1 goes from 0.95 to 0.85 and back (Smith and Topin 2018; SECOND, Yan et al. 2018).
    """
    peak = config.warm_up
    if peak * steps == 1:  # torch divides by zero where the peak is exactly the first step
        peak *= 1 + 1e-6
    return OneCycleLR(optimiser, max_lr=config.learning_rate, total_steps=steps, pct_start=peak, div_factor=10)


class MovingAverage:
    """Exponential moving average of all tensors of a module's state (integers are copied).

    The decay after n updates is min(decay, (1 + n) / (10 + n)), so that a short run is not held back by its
    first weights. Kept as plain tensors because MinkowskiEngine's layers do not survive ``copy.deepcopy``,
    which ``torch.optim.swa_utils.AveragedModel`` needs.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the present state of ``module``."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """``module`` holds the averaged state inside the context, and its own again afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """What a checkpoint keeps."""
        return {"updates": self.updates, "tensors": self.tensors}

    def load_state_dict(self, state: dict) -> None:
        """Put a kept state back, on the device of the present one."""
        self.updates = state["updates"]
        for name, tensor in self.tensors.items():
            tensor.copy_(state["tensors"][name])
