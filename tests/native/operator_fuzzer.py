"""Calls every compiled operator with wrong arguments, in a process of its own: ``operator_fuzzer.py SEED CALLS``.

Each call is announced on stdout before it is made, so that the last line names the one that ended the process. Errors
must be Python exceptions; their number is printed at the end.
"""

import os
import random
import resource
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mink_pd.native.operators import operators

MEMORY = 12 << 30  # [bytes] of address space: what asks for more gets an exception
NUMBERS = [-(1 << 62), -(1 << 31), -1, 0, 1, 2, 7, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1]
FLOATS = [float("nan"), float("inf"), -1.0, 0.0, 1e-38, 1e38]
TYPES = [torch.float32, torch.float64, torch.int32, torch.int64, torch.bool, torch.bfloat16, torch.complex64]


class Arguments:
    """Right arguments of each operator, by its name."""

    def __init__(self, operators: Any) -> None:
        self.operators = operators

    def coordinates(self, rows: int = 60) -> Tensor:
        places = torch.cat([torch.randint(0, 2, (rows, 1)), torch.randint(-9, 9, (rows, 2))], dim=1)
        return torch.unique(places, dim=0).int()

    def offsets(self) -> Tensor:
        axis = torch.arange(-1, 2)
        return torch.cartesian_prod(axis, axis).int()

    def neighbours(self) -> list[Any]:
        return [self.coordinates(), self.coordinates(20), self.offsets()]

    def inverse(self) -> list[Any]:
        fine, coarse, offsets = self.neighbours()
        return [*self.operators.neighbours(fine, coarse, offsets), len(fine)]

    def grow(self) -> list[Any]:
        return [self.coordinates(), self.offsets(), [2, 2]]

    def strided(self) -> list[Any]:
        return [self.coordinates(), [2, 2]]

    def products(self) -> list[Any]:
        fine, coarse, offsets = self.neighbours()
        pairs = self.operators.neighbours(fine, coarse, offsets)
        x, weights = torch.randn(len(fine), 5), torch.randn(len(offsets), 5, 19)
        return [x, weights, *pairs, len(coarse), False, False, torch.randn(19), torch.randn(19), True, False]

    def write_products(self) -> list[Any]:
        x, weights, *pairs, rows, transposed, mirrored, scale, shift, relu, rounded = self.products()
        into = torch.empty(rows, 23)[:, 2:21]
        return [x, weights, *pairs, transposed, mirrored, scale, shift, relu, rounded, into]

    def outer_products(self) -> list[Any]:
        fine, coarse, offsets = self.neighbours()
        pairs = self.operators.neighbours(fine, coarse, offsets)
        return [torch.randn(len(fine), 5), torch.randn(len(coarse), 19), *pairs]

    def voxelise(self) -> list[Any]:
        points, frame = torch.rand(50, 4) * 9, torch.randint(0, 2, (50,))
        return [points, frame, 2, torch.zeros(3), torch.full((3,), 0.5), [18, 18, 18], 3]

    def linear_max(self) -> list[Any]:
        group = torch.cat([torch.arange(8), torch.randint(0, 8, (30,))])
        return [torch.randn(38, 4), torch.randn(19, 4), torch.randn(19), group, torch.bincount(group, minlength=8)]

    def linear_max_backward(self) -> list[Any]:
        x = self.linear_max()
        values, winners = self.operators.linear_max(*x)
        return [values, x[0], winners]

    def describe_points(self) -> list[Any]:
        group = torch.cat([torch.arange(8), torch.randint(0, 8, (30,))])
        return [torch.randn(38, 4), group, torch.bincount(group, minlength=8), torch.randn(8, 2)]

    def covariance(self) -> list[Any]:
        return [torch.randn(38, 11)]

    def farthest_points(self) -> list[Any]:
        return [torch.randn(2, 90, 3), 20]

    def ball_query(self) -> list[Any]:
        xyz = torch.randn(2, 90, 3)
        return [xyz, xyz[:, :30].contiguous(), [0.5, 1.0], [4, 8]]

    def farthest_points_ragged(self) -> list[Any]:
        return [torch.randn(90, 3), torch.tensor([0, 30, 30, 90]), 20]

    def ball_query_ragged(self) -> list[Any]:
        return [*self.farthest_points_ragged()[:2], torch.randn(9, 3), torch.tensor([0, 4, 4, 9]), [0.5, 1.0], [4, 8]]

    def mlp_rows(self) -> list[Any]:
        weights, shifts = [torch.randn(19, 5), torch.randn(7, 19)], [torch.randn(19), torch.randn(7)]
        sum_ = [torch.randn(30, 19), torch.randint(0, 30, (40, 3)), torch.rand(40, 3), 0]
        return [torch.randn(40, 5), weights, shifts, True, *sum_]

    def mlp_groups(self) -> list[Any]:
        weights, shifts = [torch.randn(19, 3), torch.randn(7, 19)], [torch.randn(19), torch.randn(7)]
        places = [torch.randn(50, 19), torch.randn(50, 3), torch.randn(12, 3)]
        return [*places, torch.randint(0, 50, (12, 8)), weights, shifts]

    def points_of_boxes(self) -> list[Any]:
        return [torch.randn(2, 90, 3), torch.rand(6, 7), torch.randint(0, 2, (6,)), 8]

    def nearest(self) -> list[Any]:
        return [torch.randn(30, 3), torch.randn(90, 3), 8]

    def transpose_edges(self) -> list[Any]:
        return [torch.randint(0, 40, (60,)), torch.full((20,), 3), 40]

    def edge_moments(self) -> list[Any]:
        rows, start, neighbours, arriving, _ = self.operators.transpose_edges(*self.transpose_edges())
        return [torch.randn(len(rows), 19), torch.randn(20, 19), start, neighbours, arriving]

    def compare_edges(self) -> list[Any]:
        rows, *graph = self.operators.transpose_edges(*self.transpose_edges())
        width = 32  # a multiple of every vector's length
        network = [torch.randn(len(rows), width), torch.randn(20, width), torch.randn(width)]
        return [*network, *(x.clone() for x in network), torch.rand(20), *graph, True, True]

    def gradient_sums(self) -> list[Any]:
        a, b = torch.randn(30, 19), torch.randn(20, 19)
        return [a, b, a.clone(), b.clone()]

    def match_anchors(self) -> list[Any]:
        anchors, boxes = torch.rand(40, 4, 7) * 4, torch.rand(6, 7) * 4
        frames = torch.randint(0, 2, (40,)), torch.randint(0, 2, (6,))
        return [anchors, frames[0], boxes, torch.randint(0, 2, (6,)), frames[1], torch.rand(4), torch.rand(4), False]

    def focal_loss(self) -> list[Any]:
        return [torch.randn(70, 4, 3), torch.randint(-2, 3, (70, 4)), torch.rand(70), 0.25, 2.0]

    def norm_relu(self) -> list[Any]:
        channels = [torch.rand(19) for _ in range(4)]
        return [torch.randn(50, 19), *channels, 0.1, 1e-3, True, torch.empty(50, 19)]

    def norm_relu_backward(self) -> list[Any]:
        return [torch.randn(50, 19), torch.randn(50, 19), torch.rand(4, 19), True]

    def multiplies_bf16(self) -> list[Any]:
        return []


def spoil_values(x: Tensor, choose: random.Random) -> Tensor:
    """Some values beyond all limits."""
    x = x.clone(memory_format=torch.contiguous_format)
    if x.numel() == 0 or x.dtype in (torch.bool, torch.complex64):
        return x
    for _ in range(choose.choice([1, 1, x.numel()])):
        at = choose.randrange(x.numel())
        if x.dtype.is_floating_point:
            x.view(-1)[at] = choose.choice(FLOATS)
        else:
            limits = torch.iinfo(x.dtype)
            x.view(-1)[at] = min(max(choose.choice(NUMBERS), limits.min), limits.max)
    return x


def spoil_tensor(x: Tensor, choose: random.Random) -> Tensor:
    """Another type, shape, stride, device, length or values."""
    if x.is_meta or x.is_sparse:  # spoilt already
        return x
    dim = choose.randrange(max(x.dim(), 1))
    ways: list[Callable[[], Tensor]] = [
        lambda: x.to(choose.choice(TYPES)),
        lambda: x.unsqueeze(dim),
        lambda: x.flatten(),
        lambda: x.sum(),
        lambda: x.to("meta"),
        lambda: x.to_sparse(),
        *[lambda: spoil_values(x, choose)] * 6,
    ]
    if x.dim() > 0:
        ways += [
            lambda: x.narrow(dim, 0, 0),
            lambda: x.narrow(dim, 0, choose.randint(0, x.shape[dim])).contiguous(),
            lambda: torch.cat([x, x], dim=dim),
            lambda: x.transpose(0, dim),
            lambda: x.repeat_interleave(2, dim=dim).unflatten(dim, (-1, 2)).select(dim + 1, 0),
            lambda: x.new_empty([0] * x.dim()),
        ]
    return choose.choice(ways)()


def spoil(value: Any, choose: random.Random) -> Any:
    if isinstance(value, Tensor):
        return spoil_tensor(value, choose)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return choose.choice(NUMBERS)
    if isinstance(value, float):
        return choose.choice(FLOATS)
    other = [spoil(x, choose) if isinstance(x, int | Tensor) else choose.choice(FLOATS) for x in value]
    return choose.choice([[], value[:-1], [*value, *value], other])


def main(seed: int, calls: int) -> None:
    if os.environ.get("MINK_PD_SANITIZE", "0") == "0":  # a sanitizer reserves terabytes
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.manual_seed(seed)
    choose, compiled = random.Random(seed), operators()
    names = sorted(
        name.removeprefix("mink_pd::") for name in torch._C._dispatch_get_all_op_names() if "mink_pd" in name
    )
    arguments, errors = Arguments(compiled), 0
    for call in range(calls):
        name = names[call % len(names)]
        operator, given = getattr(compiled, name), getattr(arguments, name)()
        if call < len(names):
            operator(*given)  # right arguments are taken
        for _ in range(choose.choice([1, 1, 2]) if given else 0):
            at = choose.randrange(len(given))
            given[at] = spoil(given[at], choose)
        shown = [(tuple(x.shape), str(x.dtype)) if isinstance(x, Tensor) else x for x in given]
        print(call, name, shown, flush=True)
        try:
            operator(*given)
        except Exception as error:
            errors += 1
            print("  ", str(error).splitlines()[0][:150], flush=True)
    print(f"{errors} errors in {calls} calls of {len(names)} operators")
    os._exit(0)  # a library's own end is not what is tested


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
