"""What each of two processes does for test_processes.py; started by torchrun with the run's base configuration."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from mink_pd.cli import parser, run
from mink_pd.config import load_config
from mink_pd.detect.device import launch
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.processes import contributing_nothing, sum_over_processes
from mink_pd.registry import METHODS
from mink_pd.sparse.norm import BatchNorm
from mink_pd.train.objective import DetectionObjective
from mink_pd.train.start import distil, train, train_detector

TWO = ("train.devices=2", "train.batch_size=2")
OTHER_METHODS = (
    "model.compression=4", f"distill.methods=[{','.join(name for name in METHODS if name != 'pointdistiller')}]",
    "train.epochs=2", "data.beams={sensor: hdl64e, keep: 32}",  # the teacher sees 64
    "data.also={further: {split: more, repeat: 2}}",
)  # fmt: skip
UNLABELLED = (
    "model.compression=4", "distill.unlabelled.paths=[':more']", "train.epochs=2",
    "distill.unlabelled.upper={Car: 0.025, Pedestrian: 0.025, Cyclist: 0.025}",
    "distill.unlabelled.lower={Car: 0.015, Pedestrian: 0.015, Cyclist: 0.015}",
)  # fmt: skip
# Other detectors than PointPillars, each in a configuration of its own: its section, and the epochs.
DETECTORS = {
    "second": {"voxel_size": [0.2, 0.2, 0.1], "encoder_channels": [4, 6, 8, 8, 10], "channels": [8, 12],
               "layers": [1, 1], "neck_channels": 8},
    "centerpoint_pillars": {"voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, "channels": [8, 12, 16],
                            "layers": [1, 1, 1], "neck_channels": 8, "head": {"channels": 8}},
    "centerpoint_voxels": {"voxel_size": [0.2, 0.2, 0.1], "encoder_channels": [4, 6, 8, 8, 10], "channels": [8, 12],
                           "layers": [1, 1], "neck_channels": 8, "head": {"channels": 8}},
}  # fmt: skip
EVERY_METHOD = ("model.compression=4", f"distill.methods=[{','.join(METHODS)}]")
SINGLE = ("train.precision=32-true", "train.epochs=1", "train.sync_norm=false", "train.ema=null")
# The range ends 0.15 m behind the last voxel, and one of two frames has all its points there.
BETWEEN = (
    "data.range=[0,-12.8,-3,32.15,12.8,1]", "data.train_split=between", "data.augment.enabled=false", "train.epochs=2",
)  # fmt: skip
ROWS = ((7, 4), (5, 0), (0, 6))  # of the two processes


def rows_of(case: int) -> list[Tensor]:
    """The rows of the two processes; the second's lie elsewhere."""
    random = torch.Generator().manual_seed(case)
    return [torch.randn(n, 3, generator=random) * (1 + 4 * rank) + 10 * rank for rank, n in enumerate(ROWS[case])]


def normalise(norm: BatchNorm | torch.nn.BatchNorm1d, own: Tensor) -> dict[str, Tensor]:
    """Values, gradients and running statistics of one step."""
    torch.nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
    x = own.clone().requires_grad_()
    y = norm(x)
    (y.sin() * own).sum().backward()
    assert x.grad is not None
    found = {"y": y.detach(), "x": x.grad, **{name: p.grad for name, p in norm.named_parameters()}}
    return found | {name: buffer for name, buffer in norm.named_buffers()}


def norms(rank: int) -> list[dict[str, Tensor]]:
    """Synchronised norms over uneven and missing rows; the last one with a process that is only standing by."""
    results = []
    for case in range(len(ROWS)):
        norm = BatchNorm(3, eps=1e-3, momentum=0.1)
        norm.synchronised = True
        results.append(normalise(norm, rows_of(case)[rank]))
    with contributing_nothing():
        results.append({"sum": sum_over_processes(torch.ones(2))})
    return results


class Bad(DetectionObjective):
    """The loss of one process is not finite, at the last frame it should ever see."""

    def forward(self, batch):  # type: ignore[no-untyped-def]
        terms, logs = super().forward(batch)
        if torch.distributed.get_rank() == 1:
            terms["box"] = terms["box"] * torch.nan
        return terms, logs


def train_and_distil(folder: Path, detector: str, *overrides: str) -> None:
    """A detector, and its student by all methods; the teacher is the one that a single process has trained."""
    path = folder / f"{detector}.yaml"
    name = "two" if TWO[0] in overrides else "one"
    train_detector(load_config(path, [*overrides, f"name={detector}_{name}"]))
    teacher = checkpoint_file(folder / "runs" / f"{detector}_one")
    distil(load_config(path, [*overrides, *EVERY_METHOD, f"name={detector}_{name}_student"]), teacher)


def main(options) -> None:  # type: ignore[no-untyped-def]
    path, out = options.config, options.out
    config = load_config(path, [*TWO, "name=two"])
    fabric = launch(config.train)
    rank = fabric.global_rank
    found: dict = {"norms": norms(rank)}
    train_detector(config)
    teacher = checkpoint_file(path.parent / "runs" / "teacher")
    distil(load_config(path, [*TWO, "name=two_distilled", "model.compression=4"]), teacher)
    distil(load_config(path, [*TWO, *OTHER_METHODS, "name=two_methods"]), teacher)
    distil(load_config(path, [*TWO, *UNLABELLED, "name=two_unlabelled"]), teacher)
    for detector in DETECTORS:
        train_and_distil(path.parent, detector, *TWO)
    train_detector(load_config(path, [*TWO, *BETWEEN, "name=between"]))
    train_detector(load_config(path, [*TWO, *BETWEEN, "name=between_own", "train.sync_norm=false"]))
    train_detector(load_config(path, [*TWO, "name=halfway"]), resume=True)  # begun by one process
    train_detector(load_config(path, [*TWO, *SINGLE, "name=apart"]))
    torch.save(found, out / f"{rank}.pt")
    train(load_config(path, [*TWO, "name=bad"]), lambda c: Bad(build_detector(c)))


if __name__ == "__main__":
    arguments = parser(__doc__ or "")
    arguments.add_argument("config", type=Path)
    arguments.add_argument("out", type=Path)
    run(main, arguments)
    sys.exit("the last training should have ended in an error")
