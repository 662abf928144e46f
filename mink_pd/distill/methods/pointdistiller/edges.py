"""The comparison of the teacher's and the student's edge features, without storing them on the CPU.

``compare_plainly`` is the definition and serves every device and type. On the CPU in float32, compiled code forms each
edge in registers (``mink_pd/native/csrc``). The sums that the edges' batch norm needs are computed around it; they are
also what several processes exchange.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mink_pd.distill.methods.pointdistiller.graph import GraphConv, LocalGraph
from mink_pd.native.operators import operators
from mink_pd.processes import sum_over_processes


@dataclass
class Comparison:
    """loss: sum over edges of the centre's weight times the mean over channels of (G_t - G_s)^2, a scalar; and the
    root mean squares of G_t and G_s, scalars without gradient."""

    loss: Tensor
    teacher_rms: Tensor
    student_rms: Tensor


def compare_edges(
    teacher: GraphConv, student: GraphConv, features: tuple[Tensor, Tensor], graph: LocalGraph, weight: Tensor
) -> Comparison:
    """Compare edge features of the teacher's (M, C_t) and the student's ``features`` (M, C_s).

    ``weight`` (n,) of each centre's edges is a constant: no gradient flows to it.
    """
    tensors = (*features, weight, *teacher.parameters(), *student.parameters())
    if all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors) and (compiled := operators()):
        return _compare_compiled(teacher, student, features, graph, weight, compiled)
    return compare_plainly(teacher, student, features, graph, weight)


def compare_plainly(
    teacher: GraphConv, student: GraphConv, features: tuple[Tensor, Tensor], graph: LocalGraph, weight: Tensor
) -> Comparison:
    """What ``compare_edges`` computes, edge by edge."""
    target, ours = teacher(features[0], graph), student(features[1], graph)  # (E, C')
    each = (target - ours).square().mean(dim=1)  # (E,)
    rms = [edges.detach().square().mean().sqrt() for edges in (target, ours)]
    return Comparison((each * weight.detach()[graph.centre]).sum(), *rms)


def _compare_compiled(
    teacher: GraphConv,
    student: GraphConv,
    features: tuple[Tensor, Tensor],
    graph: LocalGraph,
    weight: Tensor,
    compiled: Any,
) -> Comparison:
    rows, start, neighbour, arriving, centre = compiled.transpose_edges(graph.neighbour, graph.degree, graph.rows)
    edges = _Edges(start, neighbour, arriving, centre, compiled)
    networks = [
        (*adapter.project(x, rows, graph.selected), adapter.norm.weight, adapter.norm.bias)
        for adapter, x in zip((teacher, student), features, strict=True)
    ]
    norms = [(adapter.norm.eps, adapter.norm.synchronised) for adapter in (teacher, student)]
    loss, squares = _Compare.apply(*networks[0], *networks[1], weight.detach(), edges, norms)
    rms = (squares / (graph.neighbour.numel() * teacher.linear.out_features)).sqrt()  # (2,)
    return Comparison(loss, rms[0], rms[1])


@dataclass
class _Edges:
    """The graph as compiled code takes it, int32: neighbours (E,) among the U rows that are a neighbour, those of
    centre i from ``start[i]`` to ``start[i + 1]`` (n + 1,); and the same edges sorted by neighbour: centres (E,), row
    j's from ``arriving`` (U + 1,).
    """

    start: Tensor
    neighbour: Tensor
    arriving: Tensor
    centre: Tensor
    operators: Any


class _Compare(torch.autograd.Function):
    """Loss and squares of both networks' edges from their projected rows.

    The loss is linear in its upstream gradient, so forward computes the gradients too while the rows are in cache, and
    backward scales them.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, weight, edges, norms = arguments
        needed = [any(ctx.needs_input_grad[:4]), any(ctx.needs_input_grad[4:8])]
        # Per network: a (U, C'), b (n, C'), scale and shift (C',).
        a, b, scale, shift = tensors[:4]
        teacher = _EdgeNorm(a, b, scale, shift, edges, *norms[0])
        a, b, scale, shift = tensors[4:]
        student = _EdgeNorm(a, b, scale, shift, edges, *norms[1])
        channels = a.shape[1]
        sums, *gradients = edges.operators.compare_edges(
            teacher.a, teacher.b, teacher.shift, student.a, student.b, student.shift, weight / channels,
            edges.start, edges.neighbour, edges.arriving, edges.centre, *needed,
        )  # fmt: skip
        of_tensors: list[Tensor | None] = []
        for network, need, flow in zip((teacher, student), needed, (gradients[:3], gradients[3:]), strict=True):
            of_tensors += network.backward(*flow) if need else [None] * 4
        ctx.save_for_backward(*of_tensors)
        loss, squares = sums[0].to(weight.dtype), sums[1:].to(weight.dtype)
        ctx.mark_non_differentiable(squares)
        return loss, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [
            None if gradient is None or not need else gradient * upstream[0]
            for gradient, need in zip(ctx.saved_tensors, ctx.needs_input_grad[:8], strict=True)
        ]
        return *gradients, None, None, None


class _EdgeNorm:
    """Batch norm of the edges a[j] + b[i] (Ioffe and Szegedy 2015), from sums over rows.

    a (U, W), b (n, W): what the rows contribute after the norm's scale, so that an edge is a[j] + b[i] + shift; W is C'
    padded to whole vectors with zeros.
    """

    def __init__(
        self,
        a: Tensor,
        b: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        edges: _Edges,
        eps: float,
        synchronised: bool,
    ) -> None:
        self.edges, self.synchronised, self.channels = edges, synchronised, a.shape[1]
        near, own, gathered, sums = edges.operators.edge_moments(
            a.contiguous(), b.contiguous(), edges.start, edges.neighbour, edges.arriving
        )
        mean = sums[0] / sums[2]  # (W,) float64, of this process: near and own are centred with it
        sums = self._over_processes(sums)
        self.count = sums[2].clamp(min=1)
        global_mean = sums[0] / self.count
        variance = (sums[1] / self.count - global_mean.square()).clamp(min=0)
        self.inverse = torch.rsqrt(variance + eps)  # (W,) float64
        padding = (0, near.shape[1] - self.channels)
        scale = a.new_ones(self.channels) if scale is None else scale
        self.shift = a.new_zeros(near.shape[1]) if shift is None else functional.pad(shift, padding)
        self.scale = (functional.pad(scale, padding) * self.inverse).to(a.dtype)  # (W,)
        self.near, self.own = near, own.add_((mean - global_mean).to(a.dtype))
        self.a, self.b, self.gathered = near * self.scale, own * self.scale, gathered * self.scale

    def backward(self, of_a: Tensor, of_b: Tensor, arriving_b: Tensor) -> list[Tensor]:
        """Gradients of a, b, scale and shift before the norm, from those of a and b as summands after it.

        With dy an edge's gradient and x^ its normed value, dx = scale (dy - mean dy - x^ mean (dy x^)); summed over a
        row's edges that takes their number and the sum of what stands at their other ends.
        """
        sums = self.edges.operators.gradient_sums(self.near, self.own, of_a, of_b)
        sums[1] *= self.inverse  # (2, W) float64: sums of dy and of dy x^
        means = self._over_processes(sums) / self.count
        constant = (self.scale * means[0]).to(of_a.dtype)  # (W,)
        slope = (self.inverse * means[1]).to(of_a.dtype)  # (W,)
        results = []
        ends = (of_a, self.a, arriving_b, self.edges.arriving), (of_b, self.b, self.gathered, self.edges.start)
        for gradient, own, others, start in ends:
            edges = start.diff()[:, None].to(own.dtype)  # (rows, 1)
            result = gradient * self.scale - edges * constant - (edges * own + others) * slope
            results.append(result[:, : self.channels])
        return [*results, *(x[: self.channels].to(of_a.dtype) for x in (sums[1], sums[0]))]

    def _over_processes(self, sums: Tensor) -> Tensor:
        return sum_over_processes(sums) if self.synchronised else sums
