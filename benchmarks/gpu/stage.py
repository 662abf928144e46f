"""Shared by the stages of ``tools/check_gpu.py`` that measure: arguments, networks, a JSON file."""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.frames import CastInputs
from benchmarks.inputs import Sizes
from benchmarks.rows.distillation import student_config
from mink_pd.config import Config
from mink_pd.config.models import SecondConfig
from mink_pd.distill import Distiller
from mink_pd.models import build_detector
from mink_pd.native import build as native
from mink_pd.sparse import ME
from mink_pd.train.objective import DetectionObjective, Objective

DETECTORS = ("PointPillars", "SECOND")
WORK = ("training step", "distillation step of the 4x student")


@dataclass
class Outcome:
    """The outcome of a stage. ok: whether the compared values agree; lines: Markdown for the report; figures: the same
    for programs."""

    ok: bool = True
    lines: list[str] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)


def run_stage(description: str, work: Callable[[str, bool], Outcome]) -> None:
    """Parse the command line, call ``work(device, tiny)``, write its outcome."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--tiny", action="store_true", help="small networks and clouds: a rehearsal of the script")
    parser.add_argument("--json", type=Path, required=True, help="file of the outcome")
    options = parser.parse_args()
    if options.device == "cuda":
        require_gpu()
    outcome = work(options.device, options.tiny)
    options.json.write_text(json.dumps(vars(outcome)))


def require_gpu() -> None:
    """Raise RuntimeError if there is no GPU. Switch TF32 off, so that all arithmetic is in float32."""
    if not (torch.cuda.is_available() and ME.is_cuda_available()):
        raise RuntimeError("torch finds no GPU, or MinkowskiEngine is built for the CPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@contextmanager
def compiled(on: bool) -> Iterator[None]:
    """With ``on`` False, MinkowskiEngine and torch do the work of our compiled operators."""
    before = os.environ.get("MINK_PD_NATIVE")
    os.environ["MINK_PD_NATIVE"] = "1" if on else "0"
    native.library.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINK_PD_NATIVE"]
        else:
            os.environ["MINK_PD_NATIVE"] = before
        native.library.cache_clear()


def inputs_of(detector: str, tiny: bool) -> CastInputs:
    """Frames, and the detector's configuration as published (``tiny``: a few channels of it, and few points)."""
    config = Config() if detector == "PointPillars" else Config(model=SecondConfig())
    if not tiny:
        return CastInputs(config=config)
    return CastInputs(sizes=Sizes(batch=1, every=20), config=student_config(config, 64))


def objective_of(config: Config, work: str, change: Callable[[nn.Module], None] = lambda network: None) -> Any:
    """The networks that a step of ``work`` trains, in training mode, with the same weights at every call.

    change: called with each network.
    """
    torch.manual_seed(0)
    detector = build_detector(config)
    change(detector)
    if work == WORK[0]:
        objective: Objective = DetectionObjective(detector)
    else:
        smaller = student_config(config, 4 * config.model.compression)
        student = build_detector(smaller)
        change(student)
        objective = Distiller(student, detector, smaller)
    result: Any = objective
    return result.train()
