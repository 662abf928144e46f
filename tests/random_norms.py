"""Batch norms as after some training, so that a missing or misplaced one shows in the result."""

from torch import nn


def randomise_norm(norm: nn.BatchNorm1d) -> None:
    """Draw the weights, biases and statistics from torch's generator."""
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0, 0.3)
    nn.init.normal_(norm.running_mean, 0, 0.2)
    nn.init.uniform_(norm.running_var, 0.5, 2)
