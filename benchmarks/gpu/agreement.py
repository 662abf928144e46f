"""Compares outputs, losses and gradients of CPU and GPU on the same frames with the same weights.

On a CPU (a rehearsal) it compares our compiled operators with MinkowskiEngine's layers, which the GPU uses.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.stage import DETECTORS, WORK, Outcome, compiled, inputs_of, objective_of, run_stage
from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch
from mink_pd.models.taps import SiteTap

OUTPUTS, LOSSES, GRADIENTS = 1e-3, 1e-3, 1e-2  # what may differ, of the largest value, the loss, the gradient's norm
TAPS = ("neck", "scores", "boxes")


@dataclass
class Result:
    """The results of one step: coordinates (M, 3) and features (M, C) of each tap, losses by term, and gradients by
    parameter."""

    taps: dict[str, tuple[np.ndarray, np.ndarray]]
    losses: dict[str, float]
    gradients: dict[str, np.ndarray]


def compare(device: str, tiny: bool) -> Outcome:
    """Compare every detector alone and distilled. ``ok`` is False if a difference exceeds its bound."""
    sides = "ours and MinkowskiEngine's layers, both on the CPU" if device == "cpu" else "CPU and GPU"
    outcome = Outcome(lines=[
        f"Largest relative differences between {sides}: of the outputs to their largest value (bound {OUTPUTS:g}), of"
        f" the losses ({LOSSES:g}), of the whole gradient by its norm ({GRADIENTS:g}); for information, of the worst"
        " single parameter.",
        "",
        "| detector | step | outputs | losses | gradient | worst parameter | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ])  # fmt: skip
    for detector in DETECTORS:
        inputs = inputs_of(detector, tiny)
        batch = inputs.batch(inputs.sizes.batch)
        for work in WORK:
            config = every_neighbour(inputs.config)
            first = step(config, work, batch, "cpu", nullcontext())
            second = step(config, work, batch, device, compiled(False) if device == "cpu" else nullcontext())
            figures = differences(first, second)
            ok = figures["outputs"] <= OUTPUTS and figures["losses"] <= LOSSES and figures["gradient"] <= GRADIENTS
            outcome.ok &= ok
            outcome.figures.append({"detector": detector, "step": work, "ok": ok, **figures})
            cells = [f"{figures[name]:.1e}" for name in ("outputs", "losses", "gradient", "parameter")]
            verdict = "agrees" if ok else "**differs**"
            outcome.lines.append(f"| {detector} | {work} | {' | '.join(cells)} ({figures['name']}) | {verdict} |")
    return outcome


def every_neighbour(config: Config) -> Config:
    """PointDistiller with all rows as neighbours. With fewer, the devices choose differently at equal distances."""
    distill: Any = config.distill  # whose sections are those of the registered methods
    settings = distill.pointdistiller.model_copy(update={"rows": 32, "neighbours": 10**6})
    return config.model_copy(update={"distill": distill.model_copy(update={"pointdistiller": settings})})


def step(config: Config, work: str, batch: Batch, device: str, path: AbstractContextManager[None]) -> Result:
    """Forward and backward of a batch, with the same weights at every call."""
    with path:
        objective = objective_of(config, work)
        objective.to(device)
        inputs = batch.to(torch.device(device))
        with torch.no_grad():  # a plain forward pass, in evaluation as in training
            prediction = objective.detector.eval()(inputs)
        objective.train()
        terms, _ = objective(inputs)
        sum(terms.values()).backward()
        parameters = objective.named_parameters()
        gradients = {name: to_numpy(x.grad) for name, x in parameters if x.grad is not None}
        losses = {name: float(value.detach()) for name, value in terms.items()}
        return Result({name: _sorted(prediction.taps[name]) for name in TAPS}, losses, gradients)


def to_numpy(x: Any) -> np.ndarray:
    return x.detach().cpu().double().numpy()


def _sorted(tap: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by coordinates, because a GPU's maps have another order."""
    assert isinstance(tap, SiteTap)
    coordinates, values = to_numpy(tap.coordinates), to_numpy(tap.features)
    order = np.lexsort(coordinates.T[::-1])
    return coordinates[order], values[order]


def differences(first: Result, second: Result) -> dict[str, Any]:
    """The largest relative differences; infinity if sites or parameters differ."""
    outputs = max(_of_taps(first.taps[name], second.taps[name]) for name in TAPS)
    losses = max(abs(second.losses[name] - value) / max(abs(value), 1e-9) for name, value in first.losses.items())
    if first.gradients.keys() != second.gradients.keys():
        return {"outputs": outputs, "losses": losses, "gradient": np.inf, "parameter": np.inf, "name": "other ones"}
    square = {name: np.square(second.gradients[name] - x).sum() for name, x in first.gradients.items()}
    norm = {name: np.square(x).sum() for name, x in first.gradients.items()}
    single = {name: float(np.sqrt(square[name] / max(norm[name], 1e-30))) for name in norm}
    worst = max(single, key=lambda name: single[name])
    whole = float(np.sqrt(sum(square.values()) / sum(norm.values())))
    return {"outputs": outputs, "losses": losses, "gradient": whole, "parameter": single[worst], "name": worst}


def _of_taps(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    if first[0].shape != second[0].shape or (first[0] != second[0]).any():
        return np.inf
    return float(np.abs(second[1] - first[1]).max() / max(np.abs(first[1]).max(), 1e-9))


if __name__ == "__main__":
    run_stage("Compare outputs, losses and gradients of a CPU and a GPU.", compare)
