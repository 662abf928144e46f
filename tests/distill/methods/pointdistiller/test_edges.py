"""The compiled comparison of edges against the plain one in float64."""

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from benchmarks.rows.published import published_loss
from mink_pd.distill.methods.pointdistiller import edges as module
from mink_pd.distill.methods.pointdistiller.edges import compare_edges, compare_plainly
from mink_pd.distill.methods.pointdistiller.graph import GraphConv, LocalGraph, local_graph
from mink_pd.native import build as native

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled library here")


@pytest.fixture(autouse=True)
def _same_threads_after() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def graph_of(*frames: tuple[int, int], k: int) -> LocalGraph:
    """Frames of (rows, selected rows) each; one with fewer rows than ``k`` has a smaller graph."""
    random = torch.Generator().manual_seed(len(frames))
    frame = torch.repeat_interleave(torch.arange(len(frames)), torch.tensor([rows for rows, _ in frames]))
    frame = frame[torch.randperm(len(frame), generator=random)]
    selected = []
    for index, (_, some) in enumerate(frames):
        here = torch.nonzero(frame == index)[:, 0]
        selected.append(here[torch.randperm(len(here), generator=random)[:some]])
    return local_graph(selected, frame, torch.rand(len(frame), 2, generator=random), k)


GRAPHS = {
    "one row": graph_of((6, 1), k=5),
    "one edge a row": graph_of((50, 20), k=1),  # without local distillation
    "one frame": graph_of((400, 150), k=17),
    "frames of different degree": graph_of((300, 90), (4, 3), (0, 0), (9, 9), k=12),
}


def adapters(channels: tuple[int, int, int], edge: str, frozen: bool) -> tuple[GraphConv, GraphConv]:
    """Of C_t and C_s -> C', with norms that are not what they start as."""
    torch.manual_seed(3)
    teacher, student = (
        GraphConv(channels[i], channels[2], edge, frozen=frozen and i == 0)  # type: ignore[arg-type]
        for i in range(2)
    )
    for adapter in (teacher, student):
        if adapter.norm.affine:
            torch.nn.init.normal_(adapter.norm.weight, mean=1, std=0.5)
            torch.nn.init.normal_(adapter.norm.bias, std=0.5)
    return teacher, student


def features(graph: LocalGraph, channels: tuple[int, int, int], offset: float = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    teacher, student = (offset + torch.randn(graph.rows, channels[i]) for i in range(2))
    return teacher, student


def weights_of(graph: LocalGraph) -> Tensor:
    """(n,), every third of them 0"""
    random = torch.rand(len(graph.selected), generator=torch.Generator().manual_seed(5))
    return random * (torch.arange(len(random)) % 3 != 1) / (graph.degree * len(random))


def run(compare, networks, inputs: tuple[Tensor, Tensor], graph: LocalGraph, weight: Tensor) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    """Loss, logs and all gradients, at an upstream gradient of 3."""
    networks = copy.deepcopy(networks)
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    result = compare(*networks, inputs, graph, weight)
    (3 * result.loss).backward()
    found = {"loss": result.loss, "teacher_rms": result.teacher_rms, "student_rms": result.student_rms}
    for who, network, x in zip(("teacher", "student"), networks, inputs, strict=True):
        found[f"{who} features"] = x.grad
        found |= {f"{who} {name}": p.grad for name, p in network.named_parameters() if p.requires_grad}
    return {name: value.detach() for name, value in found.items()}


def in_double(networks, inputs, graph: LocalGraph, weight: Tensor) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    networks = tuple(copy.deepcopy(network).double() for network in networks)
    return run(compare_plainly, networks, tuple(x.double() for x in inputs), graph, weight.double())


def assert_close(ours: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert ours.keys() == wanted.keys()
    for name, value in wanted.items():
        error = (ours[name].double() - value).norm() / value.norm().clamp(min=1e-6)
        assert error < tolerance, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("channels", [(16, 8, 8), (5, 3, 3), (64, 32, 32), (12, 20, 21)])
@pytest.mark.parametrize("edge", ["neighbour", "difference"])
@pytest.mark.parametrize("frozen", [True, False])
def test_loss_and_gradients(name: str, channels: tuple[int, int, int], edge: str, frozen: bool) -> None:
    graph, networks = GRAPHS[name], adapters(channels, edge, frozen)
    inputs, weight = features(graph, channels), weights_of(graph)
    ours = run(compare_edges, networks, inputs, graph, weight)
    assert frozen != ("teacher linear.weight" in ours)
    assert_close(ours, in_double(networks, inputs, graph, weight))


def test_statistics_far_from_zero() -> None:
    graph, channels = GRAPHS["one frame"], (8, 8, 8)
    networks = adapters(channels, "neighbour", False)
    inputs, weight = features(graph, channels, offset=300), weights_of(graph)
    wanted = in_double(networks, inputs, graph, weight)
    ours, plain = (run(f, networks, inputs, graph, weight) for f in (compare_edges, compare_plainly))
    for name in ("loss", "student features", "student norm.weight"):  # no farther off than torch in float32
        errors = [(found[name].double() - wanted[name]).norm() / wanted[name].norm() for found in (ours, plain)]
        assert errors[0] < max(2 * errors[1], 1e-5)


def test_a_norm_whose_scale_is_zero() -> None:
    graph, channels = GRAPHS["one frame"], (8, 8, 8)
    networks = adapters(channels, "neighbour", False)
    with torch.no_grad():
        networks[1].norm.weight[:4] = 0
        networks[1].norm.bias[:4] = 0.3
    inputs, weight = features(graph, channels), weights_of(graph)
    assert_close(run(compare_edges, networks, inputs, graph, weight), in_double(networks, inputs, graph, weight))


def test_a_single_edge_has_its_shift_only() -> None:
    graph = LocalGraph(torch.tensor([2]), torch.tensor([2]), torch.tensor([1]), 4)
    teacher, student = adapters((8, 8, 8), "neighbour", False)
    result = compare_edges(teacher, student, features(graph, (8, 8, 8)), graph, torch.ones(1))
    wanted = (teacher.norm.bias.relu() - student.norm.bias.relu()).square().mean()
    torch.testing.assert_close(result.loss, wanted)


def test_no_number_is_not_hidden() -> None:
    graph, networks = GRAPHS["one frame"], adapters((8, 8, 8), "neighbour", True)
    teacher, student = features(graph, (8, 8, 8))
    student[graph.neighbour[0], 3] = torch.nan
    assert compare_edges(*networks, (teacher, student), graph, weights_of(graph)).loss.isnan()


@pytest.mark.parametrize("frozen", [True, False])
def test_same_bits_at_every_run_and_number_of_threads(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, channels = graph_of((2000, 900), (1500, 700), k=40), (16, 24, 24)
    inputs, weight = features(graph, channels), weights_of(graph)
    projected = {}  # torch's matrix product may differ between numbers of threads; what follows must not

    def project(adapter: GraphConv, x: Tensor, rows: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
        key = (adapter.linear.in_features, len(rows))
        if key not in projected:
            projected[key] = [torch.randn(len(index), 24, requires_grad=True) for index in (rows, selected)]
        return tuple(projected[key])  # type: ignore[return-value]

    monkeypatch.setattr(GraphConv, "project", project)
    teacher, student = adapters(channels, "neighbour", frozen)
    runs = []
    for threads in (1, 2, 2, 1):
        torch.set_num_threads(threads)
        for tensor in [x for pair in projected.values() for x in pair] + list(student.parameters()):
            tensor.grad = None
        result = compare_edges(teacher, student, inputs, graph, weight)
        result.loss.backward()
        grads = [x.grad for pair in projected.values() for x in pair] + [student.norm.weight.grad]
        runs.append([result.loss.detach(), result.teacher_rms, result.student_rms, *grads])
    assert all(x is not None for x in runs[0])
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_two_processes_give_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of a batch that exchange the norm's sums have together the loss and gradients of the whole.

    Threads stand for the processes, a barrier for their exchange.
    """
    n, k, channels = 60, 7, (8, 8, 8)
    graph, networks = graph_of((60, 30), (40, 30), k=k), adapters((8, 8, 8), "neighbour", False)
    inputs, weight = features(graph, channels), weights_of(graph)
    whole = run(compare_edges, networks, inputs, graph, weight)
    halves = [
        (LocalGraph(graph.selected[at], graph.neighbour.view(n, k)[at].flatten(), graph.degree[at], graph.rows), at)
        for at in (slice(0, 20), slice(20, n))
    ]
    for network in networks:
        network.norm.synchronised = True
    barrier, offered = threading.Barrier(2, timeout=60), {}

    def total(sums: Tensor) -> Tensor:
        offered[threading.get_ident()] = sums.clone()
        barrier.wait()
        result = sum(offered.values())
        barrier.wait()
        return result

    monkeypatch.setattr(module, "sum_over_processes", total)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda half: run(compare_edges, networks, inputs, half[0], weight[half[1]]), halves))
    assert_close(
        {name: found[0][name] + found[1][name] for name in whole if "rms" not in name},
        {name: value.double() for name, value in whole.items() if "rms" not in name},
    )


def test_the_published_formulation_gives_the_same() -> None:
    graph, channels = GRAPHS["one frame"], (16, 8, 8)
    for edge in ("neighbour", "difference"):
        teacher, student = adapters(channels, edge, True)
        torch.nn.init.ones_(student.norm.weight)
        torch.nn.init.zeros_(student.norm.bias)
        inputs, phi = features(graph, channels), torch.rand(len(graph.selected))
        ours = compare_edges(teacher, student, inputs, graph, phi / (graph.degree * len(phi))).loss
        wanted = published_loss(
            *inputs, graph.neighbour.view(len(phi), -1), phi, teacher.linear.weight, student.linear.weight,
            edge=edge,  # type: ignore[arg-type]
        )  # fmt: skip
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=0)
