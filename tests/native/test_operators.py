"""Every compiled operator refuses wrong arguments with an exception: no bad access, no silent wrong answer."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mink_pd.native import build
from mink_pd.native.operators import operators

FUZZER = Path(__file__).with_name("operator_fuzzer.py")
pytestmark = pytest.mark.skipif(operators() is None, reason="no compiled library here")


@pytest.mark.parametrize("seed", range(3))
def test_no_wrong_argument_kills_the_process(seed: int) -> None:
    done = subprocess.run([sys.executable, FUZZER, str(seed), "400"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"exit {done.returncode} at: {lines[-1:]}\n{done.stderr[-3000:]}"
    assert int(lines[-1].split()[0]) > 200, "the fuzzer's arguments are hardly ever wrong"


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


X, Y, W = torch.ones(3, 2), torch.ones(3, 4), torch.ones(1, 2, 4)
TABLE = ints(0, 3).view(2, 1)  # one tile, one offset, three pairs
BIAS, XYZ, BOX = torch.ones(3), torch.rand(2, 5, 3), torch.ones(1, 7)
NAN = torch.full((2, 5, 3), float("nan"))
START, ARRIVING = ints(0, 2, 3), ints(0, 1, 3)  # two centres, two neighbours, three edges
EDGES, CENTRES = ints(0, 1, 1), ints(0, 0, 1)
PAIRS = (ints(0, 1, 2), ints(0, 1, 2))
PLAIN = (False, False, None, None, False, False)


def voxelise(
    ops: Any, frame: list[int], size: float = 1.0, shape: int = 4, frames: int = 2, dimensions: int = 3
) -> Any:
    box = torch.zeros(3), torch.full((3,), size), [shape] * 3
    return ops.voxelise(torch.rand(2, 4), torch.tensor(frame), frames, *box, dimensions)


def compare(ops: Any, start: Tensor, edges: Tensor, arriving: Tensor, centres: Tensor, weights: int = 2) -> Any:
    rows = torch.ones(2, 32)
    network = rows, rows, rows[0].clone()
    return ops.compare_edges(*network, *network, torch.ones(weights), start, edges, arriving, centres, True, True)


def match(ops: Any, label: int = 0, frames: int = 5, limits: int = 2) -> Any:
    boxes, limit = torch.ones(1, 7), torch.full((limits,), 0.5)
    places = torch.ones(5, 2, 7), torch.zeros(frames).long(), boxes, torch.tensor([label]), torch.tensor([0])
    return ops.match_anchors(*places, limit, limit, False)


def focal(ops: Any, label: int = 0, sites: int = 3) -> Any:
    return ops.focal_loss(torch.ones(3, 2, 2), torch.full((3, 2), label), torch.ones(sites), 0.25, 2.0)


def norm(ops: Any, rows: int = 3, channels: int = 4, into: Tensor | None = None) -> Any:
    into = torch.empty(rows, 4) if into is None else into
    return ops.norm_relu(Y[:rows], *(torch.ones(channels) for _ in range(4)), 0.1, 1e-3, True, into)


def ragged(ops: Any, *start: int, centres: tuple[int, ...] = (0, 1)) -> Any:
    return ops.ball_query_ragged(XYZ[0], torch.tensor(start), XYZ[0, :1], torch.tensor(centres), [1.0], [4])


def rows_through(ops: Any, layers: list[Tensor], source: int = 0, layer: int = 0, shift: int = 4) -> Any:
    table, sources = torch.ones(3, 4), torch.full((3, 1), source)
    return ops.mlp_rows(X, layers, [torch.ones(shift)] * len(layers), True, table, sources, None, layer)


def groups_through(ops: Any, layers: list[Tensor], row: int = 0) -> Any:
    rows = torch.tensor([[0, 0, row]])
    return ops.mlp_groups(Y, XYZ[0, :3], XYZ[0, :1], rows, layers, [torch.ones(len(w)) for w in layers])


# What is wrong, and part of the message.
WRONG: list[tuple[str, Callable[[Any], Any], str]] = [
    ("source", lambda o: o.products(X, W, ints(0, 1, 3), PAIRS[1], TABLE, 3, *PLAIN), "not one of the rows"),
    ("target", lambda o: o.products(X, W, PAIRS[0], ints(0, 1, -1), TABLE, 3, *PLAIN), "not one of the rows"),
    ("rows", lambda o: o.products(X, W, *PAIRS, TABLE, 99, *PLAIN), "does not fit its rows"),
    ("table", lambda o: o.products(X, W, *PAIRS, ints(0, 9).view(2, 1), 3, *PLAIN), "not one of the rows"),
    ("weights", lambda o: o.products(X, torch.ones(1, 3, 4), *PAIRS, TABLE, 3, *PLAIN), "2 channels"),
    ("into", lambda o: o.write_products(X, W, *PAIRS, TABLE, *PLAIN, torch.empty(3, 5)), "into must be"),
    ("rows of into", lambda o: o.write_products(X, W, *PAIRS, TABLE, *PLAIN, torch.empty(99, 4)), "does not fit"),
    ("outer source", lambda o: o.outer_products(X, Y, ints(0, 1, 9), PAIRS[1], TABLE), "not one of the rows"),
    ("outer table", lambda o: o.outer_products(X, Y, *PAIRS, ints(0, 9).view(2, 1)), "does not fit its pairs"),
    ("inverse row", lambda o: o.inverse(ints(0, 1, 7), PAIRS[1], TABLE, 3), "not one of the rows"),
    ("inverse twice", lambda o: o.inverse(ints(2, 1, 2), PAIRS[1], TABLE, 3), "meets several others"),
    ("twice", lambda o: o.neighbours(ints(0, 1, 0, 1).view(2, 2), ints(0, 1).view(1, 2), ints(0).view(1, 1)), "unique"),
    ("range", lambda o: o.grow(ints(0, 2**31 - 1).view(1, 2), ints(1).view(1, 1), [1]), "fit into 32 bits"),
    ("step", lambda o: o.strided(ints(0, 1).view(1, 2), [0]), "positive"),
    ("group", lambda o: o.linear_max(X, X, BIAS, torch.tensor([0, 1, 5]), torch.tensor([1, 2])), "counts"),
    ("empty group", lambda o: o.linear_max(X, X, BIAS, torch.zeros(3).long(), torch.tensor([3, 0])), "counts"),
    ("winner", lambda o: o.linear_max_backward(Y, X, torch.full((3, 4), 3, dtype=torch.int32)), "winner"),
    ("pillar", lambda o: o.describe_points(BOX, torch.tensor([1]), torch.tensor([1]), X[:1]), "one of the pillars"),
    ("centre of a pillar", lambda o: o.describe_points(BOX, torch.tensor([0]), torch.ones(2).long(), X), "a centre"),
    ("no z", lambda o: o.describe_points(X, torch.zeros(3).long(), torch.tensor([3]), X[:1]), "3 columns"),
    ("box frame", lambda o: o.points_of_boxes(XYZ, BOX, torch.tensor([2]), 4), "frame"),
    ("box shape", lambda o: o.points_of_boxes(XYZ, BOX[:, :6].contiguous(), torch.tensor([0]), 4), "boxes must be"),
    ("no radii", lambda o: o.ball_query(XYZ, XYZ, [], []), "not empty"),
    ("fewer radii", lambda o: o.ball_query(XYZ, XYZ, [1.0], [4, 4]), "equally long"),
    ("no points", lambda o: o.ball_query(XYZ[:, :0].contiguous(), XYZ, [1.0], [4]), "no points"),
    ("frames differ", lambda o: o.ball_query(XYZ, XYZ[:1], [1.0], [4]), "frames"),
    ("too many samples", lambda o: o.farthest_points(XYZ, 6), "fewer points"),
    ("NaN", lambda o: o.farthest_points(NAN, 2), "finite"),
    ("start of sets", lambda o: ragged(o, 0, 6), "start must ascend"),
    ("sets descend", lambda o: ragged(o, 0, 7, 3, 5, centres=(0, 1, 1, 1)), "start must ascend"),
    ("sets of centres", lambda o: ragged(o, 0, 5, centres=(0, 1, 1)), "as many frames"),
    ("centres of an empty set", lambda o: ragged(o, 0, 0, 5, centres=(0, 1, 1)), "no points"),
    ("sets of NaN", lambda o: o.farthest_points_ragged(NAN[0], torch.tensor([0, 5]), 2), "finite"),
    ("no layers", lambda o: rows_through(o, []), "channels of x"),
    ("first layer", lambda o: rows_through(o, [torch.ones(4, 3)]), "channels of x"),
    ("layers", lambda o: rows_through(o, [torch.ones(4, 2), torch.ones(4, 5)]), "as many channels as"),
    ("shift", lambda o: rows_through(o, [torch.ones(4, 2)], shift=3), "one value a channel"),
    ("weight's rows", lambda o: rows_through(o, [torch.ones(2, 4).t()]), "contiguous"),
    ("no such layer", lambda o: rows_through(o, [torch.ones(4, 2)], layer=1), "no such layer"),
    ("table's row", lambda o: rows_through(o, [torch.ones(4, 2)], source=3), "not one of the table's rows"),
    ("before the table", lambda o: rows_through(o, [torch.ones(4, 2)], source=-1), "not one of the table's rows"),
    ("offsets", lambda o: groups_through(o, [torch.ones(4, 2)]), "must take offsets"),
    ("group's row", lambda o: groups_through(o, [torch.ones(4, 3)], row=3), "not one of the points"),
    ("group's layers", lambda o: groups_through(o, [torch.ones(4, 3), torch.ones(4, 5)]), "as many channels as"),
    ("degree", lambda o: o.transpose_edges(torch.tensor([0, 1]), torch.tensor([3, -1]), 2), "degree"),
    ("neighbour", lambda o: o.transpose_edges(torch.tensor([0, 5]), torch.tensor([1, 1]), 2), "outside the rows"),
    ("moments", lambda o: o.edge_moments(X[:2], X[:2], START, ints(0, 1, 2), ARRIVING), "none of the rows"),
    ("start", lambda o: o.edge_moments(X[:2], X[:2], ints(0, 5, 3), EDGES, ARRIVING), "descend"),
    ("no channels", lambda o: o.edge_moments(X[:2, :0].clone(), X[:2, :0].clone(), START, EDGES, ARRIVING), "channel"),
    ("edge", lambda o: compare(o, START, ints(0, 1, 9), ARRIVING, CENTRES), "none of the rows"),
    ("centre", lambda o: compare(o, START, EDGES, ARRIVING, ints(0, 0, 2)), "none of the rows"),
    ("weight", lambda o: compare(o, START, EDGES, ARRIVING, CENTRES, weights=1), "weight for each centre"),
    ("no anchors of a class", lambda o: match(o, label=1), "no anchors of"),
    ("negative class", lambda o: match(o, label=-1), "no anchors of"),
    ("frames of sites", lambda o: match(o, frames=4), "frame of each site"),
    ("limits", lambda o: match(o, limits=3), "limit for each kind"),
    ("label", lambda o: focal(o, label=2), "not one of the classes"),
    ("shares", lambda o: focal(o, sites=2), "share must be|share \\(S,\\)"),
    ("one row", lambda o: norm(o, rows=1), "two rows"),
    ("channels", lambda o: norm(o, channels=5), "one value a channel"),
    ("norm into", lambda o: norm(o, into=torch.empty(3, 8)[:, ::2]), "each row in one piece"),
    ("shared rows", lambda o: norm(o, into=torch.empty(1, 4).expand(3, 4)), "each row in one piece"),
    ("statistics", lambda o: o.norm_relu_backward(Y, Y, torch.ones(3, 4), True), "statistics must be"),
    ("frame", lambda o: voxelise(o, [0, 2]), "frame"),
    ("size", lambda o: voxelise(o, [0, 1], size=0.0), "positive"),
    ("cells", lambda o: voxelise(o, [0, 1], shape=1 << 20), "cells"),
    ("dimensions", lambda o: voxelise(o, [0, 1], dimensions=5), "dimensions"),
    ("k", lambda o: o.nearest(X, X, 4), "fewer points"),
    ("float64", lambda o: o.nearest(X.double(), X, 1), "type Float"),
    ("strided", lambda o: o.nearest(torch.ones(2, 3).t(), X, 1), "contiguous"),
    ("0 dimensions", lambda o: o.nearest(torch.tensor(1.0), X, 1), "2 dimensions"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_argument_is_named(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=message) as error:
        call(operators())
    assert "\n" not in str(error.value).split("Exception raised from")[0].strip()


def test_another_device_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="Meta"):
        operators().nearest(X.to("meta"), X.to("meta"), 1)
    with pytest.raises(RuntimeError, match=r"CPU tensor|Meta tensors"):
        operators().products(X, W, *(x.to("meta") for x in PAIRS), TABLE.to("meta"), 3, *PLAIN)


def test_without_channels_products_are_the_shift() -> None:
    shift = torch.tensor([1.0, -2.0])
    y = operators().products(
        X[:, :0].clone(), W[:, :0, :2].clone(), *PAIRS, TABLE, 3, False, False, None, shift, True, False
    )
    assert torch.equal(y, torch.tensor([[1.0, 0.0]] * 3))
    assert operators().products(X, W[..., :0].clone(), *PAIRS, TABLE, 3, *PLAIN).shape == (3, 0)
    assert operators().outer_products(X[:, :0].clone(), Y, *PAIRS, TABLE).shape == (1, 0, 4)


def test_the_compiler_warns_of_nothing() -> None:
    log = build.library_path().with_name(build.LOG)
    if not log.exists():
        pytest.skip("the library was built elsewhere, and the compiler's output is not beside it")
    assert "warning:" not in log.read_text()
