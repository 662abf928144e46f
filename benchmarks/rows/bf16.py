"""Inference in bfloat16 compared with float32, on processors with bfloat16 instructions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.agreement import same
from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows.detectors import detect, ready
from benchmarks.rows.distillation import student_config
from benchmarks.rows.encoder import forward, networks, voxels
from benchmarks.rows.row import Row
from benchmarks.thread_counts import OURS
from mink_pd.sparse import multiplies_bf16

TOLERANCE = 0.05  # of the largest value, a dozen layers deep: each rounds to 1/256


def rounded(work: Callable[[], Any]) -> Any:
    """The result of ``work`` under autocast to bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return work()


def _pair(work: Callable[[], Any], check: Callable[[], None]) -> Pair:
    if not multiplies_bf16():
        return Pair(Side(work, OURS), None, notes=["this processor has no bfloat16 instructions; ours is in float32"])
    return Pair(Side(partial(rounded, work), OURS), Side(work, OURS), check)


def encoder_bf16(inputs: Inputs) -> Pair:
    scene = voxels(inputs)
    work = partial(forward, networks(scene)[0].eval(), scene)

    def check() -> None:
        same(rounded(work).F, work().F, "outputs", TOLERANCE)

    return _pair(work, check)


def pointpillars_bf16(inputs: Inputs) -> Pair:
    batch = inputs.batch()
    work = partial(detect, ready(student_config(inputs.config, compression=1), batch, inputs.sizes.candidates), batch)

    def check() -> None:
        assert all(len(side[0].boxes) for side in (rounded(work), work())), "nothing found"

    return _pair(work, check)


ROWS = [
    Row("encoder-bf16", "SECOND-size sparse encoder, forward, in bfloat16", "the same in float32", None, encoder_bf16),
    Row("pointpillars-bf16", "PointPillars, full size, points to boxes, in bfloat16", "the same in float32", None,
        pointpillars_bf16),
]  # fmt: skip
