"""The loop: resumed weights bit for bit, accumulation, the order of checkpoints, diverging losses."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stand_in import MeanDetector, Memory, make_trainer
from torch import nn

from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.errors import MinkPDError
from mink_pd.evaluate.scorers.kitti import KittiScorer
from mink_pd.train import loop
from mink_pd.train.objective import DetectionObjective
from mink_pd.train.validate import Validation


class Killed(BaseException):
    """Stands for a process that ends without warning."""


class Mortal(DetectionObjective):
    """Dies at a given forward pass."""

    def __init__(self, detector: MeanDetector, at: int) -> None:
        super().__init__(detector)
        self.left = at

    def forward(self, batch):  # type: ignore[no-untyped-def]
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().forward(batch)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_resumed_training_ends_in_the_same_bits(tmp_path: Path, ema: float | None) -> None:
    settings = {"epochs": 4, "noisy": True, "ema": ema, "accumulate": 2}
    whole = make_trainer(tmp_path / "whole", **settings)
    whole.fit()

    # Three batches an epoch: the ninth is the last of the third epoch.
    killed = make_trainer(tmp_path / "killed", partial(Mortal, at=8), **settings)
    with pytest.raises(Killed):
        killed.fit()

    torch.manual_seed(99)
    resumed = make_trainer(tmp_path / "killed", **settings)
    state = resumed.run.read_state()
    assert state is not None
    assert state["epoch"] == 2
    resumed.restore(state)
    resumed.fit()

    assert same(whole.objective.state_dict(), resumed.objective.state_dict())
    for which in ("whole", "killed"):
        assert (tmp_path / which / "checkpoints" / "last.safetensors").exists()
    files = [load_file(tmp_path / which / "checkpoints" / "last.safetensors") for which in ("whole", "killed")]
    assert same(*files)
    epochs = [
        [json.loads(line)["epoch"] for line in (tmp_path / which / "metrics.jsonl").read_text().splitlines()]
        for which in ("whole", "killed")
    ]
    assert epochs[0] == epochs[1] == [1, 2, 3, 4, 4]


def test_a_state_without_its_generators_gives_other_weights(tmp_path: Path) -> None:
    """Guards the test above: with dropout, forgetting the random state must show."""
    results = []
    for seed in (1, 2):
        trainer = make_trainer(tmp_path / str(seed), noisy=True)
        torch.manual_seed(seed)
        trainer.fit()
        results.append(trainer.objective.state_dict())
    assert not same(*results)


@pytest.mark.parametrize("frames", [8, 6])  # 6: the last step of an epoch has half the batches
def test_accumulated_batches_equal_one_large_batch(tmp_path: Path, frames: int) -> None:
    small = make_trainer(tmp_path / "small", loader=Memory(frames, 2, shuffle=False), accumulate=2)
    large = make_trainer(tmp_path / "large", loader=Memory(frames, 4, shuffle=False))
    assert small.steps == large.steps
    small.fit()
    large.fit()
    for a, b in zip(small.objective.parameters(), large.objective.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    values = iter([10.0, 30.0, 20.0])
    seen = []

    def validate(detector: nn.Module) -> Validation:
        seen.append({name: tensor.clone() for name, tensor in detector.state_dict().items()})
        return Validation({}, KittiScorer(), {"mAP_3d": next(values)})

    trainer = make_trainer(tmp_path / "run", validate=validate, epochs=3, validate_every=1)
    trainer.fit()
    assert same(load_file(trainer.run.weights("best")), seen[1])
    assert same(load_file(trainer.run.weights("last")), seen[2])
    assert trainer.best == 30.0


@pytest.mark.parametrize(("every", "epochs"), [(0, [5]), (2, [2, 4, 5]), (5, [5])])
def test_validation_is_every_n_epochs_and_after_the_last(tmp_path: Path, every: int, epochs: list[int]) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=5, validate_every=every)
    trainer.fit()
    rows = [json.loads(line) for line in trainer.run.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["split"] == "val"] == epochs


def test_exported_weights_are_the_moving_average(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", ema=0.99)
    trainer.fit()
    assert trainer.average is not None
    exported = load_file(trainer.run.weights("last"))
    assert same(exported, trainer.average.tensors)
    assert not same(exported, trainer.objective.detector.state_dict())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, value: float) -> None:
    class Diverging(DetectionObjective):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            terms, logs = super().forward(batch)
            if trainer.epoch == 1:
                terms["box"] = terms["box"] * value
            return terms, logs

    trainer = make_trainer(tmp_path / "run", wrap=Diverging, epochs=3)
    with pytest.raises(MinkPDError) as error:
        trainer.fit()
    message = str(error.value)
    assert "\n" not in message
    assert str(tmp_path / "run") in message
    assert "epoch 2, step 4" in message
    assert trainer.run.read_state()["epoch"] == 1  # type: ignore[index]
    assert all(tensor.isfinite().all() for tensor in load_file(trainer.run.weights("last")).values())


def test_a_gradient_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    class Diverging(DetectionObjective):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            terms, _ = super().forward(batch)
            return {"root": (terms["box"] * 0).sqrt()}, {}  # 0, with an infinite slope

    trainer = make_trainer(tmp_path / "run", wrap=Diverging)
    with pytest.raises(MinkPDError, match="gradient"):
        trainer.fit()


def test_gradients_are_clipped(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", max_grad_norm=1e-3)
    seen: list[float] = []
    parameters = list(trainer.objective.parameters())
    trainer.optimiser.optimizer.register_step_pre_hook(
        lambda *_: seen.append(float(torch.cat([p.grad.flatten() for p in parameters]).norm()))  # type: ignore[union-attr]
    )
    trainer.fit()
    assert len(seen) == 6
    assert max(seen) <= 1.001e-3


def test_logs_are_means_over_frames(tmp_path: Path) -> None:
    """The last batch of an epoch is smaller; its frames count as much as others."""

    class Counting(DetectionObjective):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            terms, _ = super().forward(batch)
            return terms, {"size of batch": torch.tensor(float(len(batch)))}

    trainer = make_trainer(tmp_path / "run", wrap=Counting, loader=Memory(5, 2))
    trainer.fit()
    row = json.loads(trainer.run.metrics.read_text().splitlines()[0])
    assert row["size of batch"] == pytest.approx((2 * 2 + 2 * 2 + 1 * 1) / 5)
    assert row["loss"] == pytest.approx(row["box"] + row["size"])


def test_a_log_that_a_batch_lacks_is_the_mean_of_the_others(tmp_path: Path) -> None:
    """A batch without objects has no features near them; a loss term that it lacks is 0."""

    class NearObjects(DetectionObjective):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            terms, logs = super().forward(batch)
            if len(batch) == 1:
                return terms | {"near": torch.tensor(3.0)}, {"rms": torch.tensor(0.8)}
            return terms, logs

    trainer = make_trainer(tmp_path / "run", wrap=NearObjects, loader=Memory(5, 2))
    trainer.fit()
    row = json.loads(trainer.run.metrics.read_text().splitlines()[0])
    assert row["rms"] == pytest.approx(0.8)
    assert row["near"] == pytest.approx(3 / 5)
    assert row["loss"] == pytest.approx(row["box"] + row["size"] + row["near"])


def batch_of(*labelled: bool) -> Batch:
    """Empty frames, some of which have labels."""
    frames = [Frame("a", np.zeros((0, 4), np.float32)) for _ in labelled]
    for frame, own in zip(frames, labelled, strict=True):
        frame.labelled = own
    return collate(frames, ["Car"])


def test_processes_may_log_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them has no object in its frames."""
    first, second = loop._Means(), loop._Means()
    first.add_losses({"loss": 3.0, "box": 1.0}, 2.0)
    first.add_logs({"near/rms": 4.0, "inside": 0.5, "unlabelled/kept": 3.0}, batch_of(True, False))
    second.add_losses({"loss": 5.0}, 2.0)
    second.add_logs({"inside": 0.25, "unlabelled/kept": 6.0}, batch_of(False, False))
    monkeypatch.setattr(loop, "gather", lambda own: [first, second])
    wanted = {"loss": 4.0, "box": 0.5, "near/rms": 4.0, "inside": 0.375, "unlabelled/kept": 5.0}
    assert first.over_processes() == wanted
