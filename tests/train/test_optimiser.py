"""Optimiser, one-cycle schedule and moving average, against closed forms and torch's own."""

import contextlib
import math

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mink_pd.config import TrainConfig
from mink_pd.train.optimiser import MovingAverage, make_optimiser, make_schedule


def rates(config: TrainConfig, steps: int) -> tuple[list[float], list[float]]:
    """Learning rate and beta1 at every step."""
    optimiser = make_optimiser([nn.Parameter(torch.ones(1))], config)
    schedule = make_schedule(optimiser, config, steps)
    seen = []
    for step in range(steps):
        seen.append((optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["betas"][0]))
        optimiser.step()
        if step + 1 < steps:
            schedule.step()
    return [rate for rate, _ in seen], [beta for _, beta in seen]


def cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def test_one_cycle_follows_two_cosines() -> None:
    config = TrainConfig(learning_rate=0.01, warm_up=0.4)
    steps, peak = 50, 0.4 * 50 - 1
    learning, momentum = rates(config, steps)
    for step in range(steps):
        if step <= peak:
            wanted = cosine(0.001, 0.01, step / peak), cosine(0.95, 0.85, step / peak)
        else:
            share = (step - peak) / (steps - 1 - peak)
            wanted = cosine(0.01, 0.001 / 1e4, share), cosine(0.85, 0.95, share)
        assert (learning[step], momentum[step]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.4), (2, 0.5), (4, 0.25), (10, 0.1), (3, 0.4)])
def test_short_schedules_work(steps: int, warm_up: float) -> None:
    learning, _ = rates(TrainConfig(learning_rate=0.01, warm_up=warm_up), steps)
    assert len(learning) == steps
    assert all(0 < rate <= 0.0101 for rate in learning)


def test_frozen_parameters_are_not_trained() -> None:
    free, frozen = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1), requires_grad=False)
    optimiser = make_optimiser([free, frozen], TrainConfig())
    assert [p for group in optimiser.param_groups for p in group["params"]] == [free]


def test_moving_average_equals_torchs_once_the_decay_is_reached() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours = MovingAverage(module, decay=0.05)  # below the ramp's first value, 0.1: the ramp never shows
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.05), use_buffers=True)
    theirs.n_averaged += 1  # ours starts from the weights before the first step
    for _ in range(5):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        module(torch.randn(8, 3))
        ours.update(module)
        theirs.update_parameters(module)
    for name, tensor in theirs.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(ours.tensors[name], tensor)
    assert ours.tensors["1.num_batches_tracked"] == module[1].num_batches_tracked


def test_moving_average_starts_fast() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0)
    average = MovingAverage(module, decay=0.999)
    with torch.no_grad():
        module.weight.fill_(1)
    expected = 0.0
    for step in range(3):
        average.update(module)
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay)
    assert float(average.tensors["weight"]) == pytest.approx(expected)


def test_applied_average_gives_the_weights_back_even_after_an_error() -> None:
    module = nn.Linear(2, 2)
    average = MovingAverage(module, decay=0.5)
    first = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    own = module.weight.detach().clone()
    seen = []
    with contextlib.suppress(ZeroDivisionError), average.applied(module):
        seen.append(module.weight.detach().clone())
        raise ZeroDivisionError
    assert torch.equal(seen[0], first)
    assert torch.equal(module.weight, own)
