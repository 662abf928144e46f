"""The training loop: the same for teacher, student and distilled student."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch
from mink_pd.errors import MinkPDError
from mink_pd.memory import trim_memory
from mink_pd.models import Detector
from mink_pd.models.checkpoint import save_weights
from mink_pd.processes import gather, processes, stop_together, sum_over_processes
from mink_pd.sparse.norm import synchronise
from mink_pd.train.objective import Objective
from mink_pd.train.optimiser import MovingAverage, make_optimiser, make_schedule
from mink_pd.train.parallel import add_gradients, answering_only, placeholder_batch, share_state
from mink_pd.train.reporter import Reporter
from mink_pd.train.run_folder import RunFolder
from mink_pd.train.seen import Seen
from mink_pd.train.state import random_state, save_state, set_random_state
from mink_pd.train.validate import Validation

TRIM_EVERY = 50  # steps


class Loader(Protocol):
    """Batches of an epoch. The same epoch always has the same batches."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Batch]: ...


class Trainer:
    """Trains an objective and writes its run folder; all processes call the same methods.

    An epoch consists of batches, validation if due, report and checkpoint, in this order. A training that is killed
    loses at most the current epoch.
    """

    def __init__(
        self,
        objective: Objective,
        loader: Loader,
        validate: Callable[[Detector], Validation],
        config: Config,
        run: RunFolder,
        fabric: Fabric,
        reporter: Reporter,
    ) -> None:
        self.objective, self.loader, self.validate = objective, loader, validate
        self.config, self.settings, self.run = config, config.train, run
        self.fabric, self.reporter = fabric, reporter
        if self.settings.sync_norm:
            synchronise(cast(nn.Module, objective))
        optimiser = make_optimiser(objective.parameters(), self.settings)
        self.steps_an_epoch = math.ceil(len(loader) / self.settings.accumulate)
        self.steps = self.settings.epochs * self.steps_an_epoch
        self.schedule = make_schedule(optimiser, self.settings, self.steps)
        self.module, self.optimiser = fabric.setup(cast(nn.Module, objective), optimiser)
        share_state(cast(nn.Module, objective))
        decay = self.settings.ema
        self.average = MovingAverage(objective.detector, decay) if decay is not None else None
        self.epoch = self.step = 0  # epochs and optimiser steps done
        self.best: float | None = None

    def fit(self) -> None:
        """Train from the current state to the last epoch."""
        self.reporter.start(self.epoch, self.step, self.steps)
        for epoch in range(self.epoch + 1, self.settings.epochs + 1):
            self.train_epoch(epoch)
            self.epoch = epoch
            every = self.settings.validate_every
            if epoch == self.settings.epochs or (every and epoch % every == 0):
                self.validate_epoch()
            self.save()

    def train_epoch(self, epoch: int) -> None:
        """Process all batches of an epoch; one optimiser step per ``accumulate`` batches."""
        self.module.train()
        self.objective.begin_epoch(epoch)
        means, frames, started = _Means(), 0.0, time.perf_counter()
        seen = Seen(self.config, self.fabric.device)
        accumulate, batches = self.settings.accumulate, len(self.loader)
        for index, batch in enumerate(self.batches(epoch)):
            first = index - index % accumulate
            group = min(accumulate, batches - first)  # batches in this step: fewer at the epoch's end
            complete = index - first + 1 == group
            seen.add(batch)
            mean = self.mean_over_processes(len(batch))
            losses, logs = self.backward(replace(batch, weight=len(batch) / mean), epoch, group)
            means.add_losses(losses, mean)
            means.add_logs(logs, batch)
            frames += mean * processes()
            if complete:
                self.optimise(epoch)
                rate = frames / (time.perf_counter() - started)
                self.reporter.step(epoch, self.step, losses | logs, rate, float(self.schedule.get_last_lr()[0]))
                if self.step % TRIM_EVERY == 0:
                    trim_memory()
        seconds = time.perf_counter() - started
        averages = means.over_processes()
        seen.check(self.run, averages)
        if seen.dropped and epoch == 1:
            left_out = "points of the files were left out: NaN, infinite, at the origin or on the own vehicle"
            self.reporter.say(f"{self.run}: {seen.dropped} {left_out}")
        self.reporter.epoch(epoch, self.step, averages, frames / seconds, seconds)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch; if one process cannot read a frame, all processes stop."""
        batches, batch = self.loader.epoch(epoch - 1), None
        while True:
            error = None
            try:
                batch = next(batches, None)
            except MinkPDError as raised:
                error = raised
            stop_together(error, self.fabric.device)
            if batch is None:
                return
            yield batch

    def mean_over_processes(self, count: int) -> float:
        """The mean of ``count`` over the processes; at least one process must have a count above 0."""
        if processes() == 1:
            return count
        return float(sum_over_processes(torch.tensor(float(count), device=self.fabric.device))) / processes()

    def backward(self, batch: Batch, epoch: int, group: int) -> tuple[dict[str, float], dict[str, float]]:
        """Accumulate the gradient of one batch of a group. Returns the loss with its terms, and the other logs."""
        if processes() > 1 and not self.objective.detector.sees(batch):
            with answering_only(cast(nn.Module, self.objective), self.settings.sync_norm):
                losses, _ = self.backward_of(placeholder_batch(self.config.data), epoch, group)
            return dict.fromkeys(losses, 0.0), {}
        return self.backward_of(batch, epoch, group)

    def backward_of(self, batch: Batch, epoch: int, group: int) -> tuple[dict[str, float], dict[str, float]]:
        """Forward and backward. All processes stop before the backward pass if the loss of one is not finite."""
        terms, seen = self.module(batch.to(self.fabric.device))
        total = cast(Tensor, sum(terms.values()))
        losses = {name: float(value.detach()) for name, value in {"loss": total, **terms}.items()}
        logs = {name: float(value.detach()) for name, value in seen.items()}
        bad = next((name for name in (*terms, "loss") if not math.isfinite(losses[name])), None)
        ids = ", ".join(frame.id for frame in batch.frames)
        error = bad and self.diverged(f"loss term '{bad}' is {losses[bad]} in frames {ids}", epoch)
        stop_together(error or None, self.fabric.device)
        if self.objective.detector.sees(batch):  # else there is nothing to learn, also not for the weight decay
            self.fabric.backward(total / (group * processes()))
        return losses, logs

    def optimise(self, epoch: int) -> None:
        """One step of optimiser, schedule and moving average with the accumulated gradients."""
        add_gradients(cast(nn.Module, self.objective))
        scaled = self.settings.precision == "16-mixed"  # the scaler itself skips steps with infinite gradients
        norm = self.fabric.clip_gradients(
            self.module, self.optimiser, max_norm=self.settings.max_grad_norm, error_if_nonfinite=False
        )
        if norm is not None and not scaled and not norm.isfinite():
            stop_together(self.diverged(f"the gradient's norm is {float(norm)}", epoch), self.fabric.device)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        if self.step < self.steps:
            self.schedule.step()
        if self.average is not None:
            self.average.update(self.objective.detector)

    def diverged(self, what: str, epoch: int) -> MinkPDError:
        """The error for a training that has diverged."""
        kept = f"keeps epoch {self.epoch}" if self.epoch else "has no checkpoint yet"
        return MinkPDError(
            f"{self.run}: {what} (epoch {epoch}, step {self.step + 1}); the run {kept};"
            " lower train.learning_rate or train.max_grad_norm and start another run"
        )

    def validate_epoch(self) -> None:
        """Evaluate the exported weights, and keep them if they are the best so far."""
        started = time.perf_counter()
        with self.exported():
            validation = self.validate(self.objective.detector)
            value = validation.metrics.get(self.settings.best_metric)
            best = value is not None and (self.best is None or value > self.best)
            if best:
                self.best = value
            if self.fabric.is_global_zero:
                validation.write(self.run.results)
                if best:
                    self.save_weights("best")
        self.reporter.validation(self.epoch, self.step, validation.metrics, best, time.perf_counter() - started)

    def exported(self) -> AbstractContextManager[None]:
        """Inside the context, the detector holds the exported weights: the moving average, if there is one."""
        return nullcontext() if self.average is None else self.average.applied(self.objective.detector)

    def save_weights(self, which: str) -> None:
        """Write the current weights of the detector."""
        path = self.run.checkpoints / f"{which}.safetensors"
        save_weights(path, self.objective.detector.state_dict(), self.config, self.epoch)

    def save(self) -> None:
        """Write the last weights, then the state, so that the state is never newer than the weights."""
        generators = gather(random_state())
        if self.fabric.is_global_zero:
            with self.exported():
                self.save_weights("last")
            save_state(self.run.state, self.state(generators))
        self.fabric.barrier()

    def state(self, generators: list[Any]) -> dict[str, Any]:
        """The training state: everything that the next epoch depends on."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "generators": generators,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that ``save`` wrote."""
        self.epoch, self.step, self.best = state["epoch"], state["step"], state["best"]
        self.objective.load_state_dict(state["objective"])
        self.optimiser.optimizer.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        generators = state["generators"]  # one per process; the number of processes may have changed
        set_random_state(generators[self.fabric.global_rank % len(generators)])


class _Means:
    """Means of scalars over batches and processes, weighted by the number of frames.

    A loss term is 0 in a batch that lacks it, so that the terms add up to the loss. Any other log is the mean over the
    batches that have it: one without objects has no features near them.
    """

    def __init__(self) -> None:
        self.frames = 0.0
        self.losses: dict[str, float] = {}  # sums over frames
        self.logs: dict[str, tuple[float, float]] = {}  # sum over frames, and their number

    def add_losses(self, values: dict[str, float], frames: float) -> None:
        self.frames += frames
        for name, value in values.items():
            self.losses[name] = self.losses.get(name, 0.0) + value * frames

    def add_logs(self, values: dict[str, float], batch: Batch) -> None:
        """Those called ``unlabelled/NAME`` are means over the unlabelled frames of the batch, all others over all."""
        unlabelled = sum(not frame.labelled for frame in batch.frames)
        for name, value in values.items():
            frames = unlabelled if name.startswith("unlabelled/") else len(batch)
            total, before = self.logs.get(name, (0.0, 0.0))
            self.logs[name] = total + value * frames, before + frames

    def over_processes(self) -> dict[str, float]:
        """All processes call this and get the same; their losses and logs may differ in names."""
        everyone = gather(self)
        frames = sum(one.frames for one in everyone)
        names = dict.fromkeys(name for one in everyone for name in one.losses)
        means = {name: sum(one.losses.get(name, 0.0) for one in everyone) / frames for name in names}
        for name in dict.fromkeys(name for one in everyone for name in one.logs):
            totals, counts = zip(*(one.logs.get(name, (0.0, 0.0)) for one in everyone), strict=True)
            means[name] = sum(totals) / sum(counts)
        return means
