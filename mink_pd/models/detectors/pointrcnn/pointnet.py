"""Shared MLPs on rows: grouped, interpolated, or plain.

All are linear before the norm, so each row is projected once and gathered afterwards, as a row belongs to many groups.
At inference on the CPU compiled code runs all layers of an MLP together (:mod:`fused`); torch runs them one by one.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mink_pd.models.detectors.pointrcnn.fused import Affine, Spread, compiled_for, project, run_rows
from mink_pd.models.whole import is_whole
from mink_pd.points import Interpolation
from mink_pd.sparse.norm import BatchNorm, norm_relu

_ROWS = 1 << 14  # grouped rows at a time without gradients, few enough to stay in the cache


class MLPLayer(nn.Linear):
    """Linear, batch norm (or a bias), ReLU on rows (n, C)."""

    def __init__(self, channels: int, out: int, norm: bool = True, epsilon: float = 1e-5) -> None:
        super().__init__(channels, out, bias=not norm)
        self.norm = BatchNorm(out, eps=epsilon) if norm else None
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight, shift = self.folded()
        return self.finish(F.linear(x, weight, shift))

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight (C', C) and shift (C',) before the ReLU. In evaluation the norm is folded in."""
        if self.norm is None:
            return self.weight, self.bias
        if self.norm.training:
            return self.weight, None
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        scale = self.norm.weight * torch.rsqrt(self.norm.running_var + self.norm.eps)
        return self.weight * scale[:, None], self.norm.bias - self.norm.running_mean * scale

    def affine(self) -> Affine:
        """The same for compiled code."""
        return Affine.of(*self.folded())

    def finish(self, x: Tensor) -> Tensor:
        """The steps after the linear map: batch norm unless it is folded, and ReLU."""
        if self.norm is not None and self.norm.training:
            return norm_relu([x], [self.norm])
        return x.relu_()


class MLP(nn.Sequential):
    """Layers one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, C) -> (n, C')"""
        compiled = compiled_for(x, self)
        return super().forward(x) if compiled is None else run_rows(compiled, x, self.affines())

    def affines(self) -> list[Affine]:
        """Of all layers, for compiled code."""
        return [layer.affine() for layer in self if isinstance(layer, MLPLayer)]


def mlp(channels: list[int], norm: bool = True, epsilon: float = 1e-5) -> MLP:
    """One layer from each of ``channels`` to the next."""
    return MLP(*(MLPLayer(a, b, norm, epsilon) for a, b in pairwise(channels)))


class GroupedLayer(MLPLayer):
    """W [x_j - c ; f_j] for the rows j of groups around centres c."""

    def input_groups(self) -> Tensor:
        """Groups of the inputs: x, y, z, features."""
        return torch.arange(self.in_features).clamp(max=3)

    def forward(self, x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Projections (S, C') of rows x = [xyz ; f] (S, 3 + C), and (G, C') of centres (G, 3)."""
        weight, shift = self.folded()
        own = centres @ weight[:, :3].t()
        return x @ weight.t(), own if shift is None else own - shift

    def gather(self, near: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        """The layer's output (G * K, C') for the rows (G, K) of groups, from the projections of ``forward``."""
        grouped = near.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)  # (G, K, C')
        return self.finish((grouped - own[:, None]).view(-1, near.shape[1]))

    def multiply_adds(self, x: Tensor, centres: Tensor) -> int:
        """Of ``forward``."""
        return (len(x) * self.in_features + len(centres) * 3) * self.out_features


class InterpolatedLayer(MLPLayer):
    """W [interpolated ; skip]. The coarse features are projected before they are interpolated."""

    def __init__(self, coarse: int, skip: int, out: int) -> None:
        super().__init__(coarse + skip, out)
        self.coarse = coarse

    def input_groups(self) -> Tensor:
        """Coarse, skip."""
        return (torch.arange(self.in_features) >= self.coarse).long()

    def forward(self, coarse: Tensor, skip: Tensor, way: Interpolation) -> Tensor:  # type: ignore[override]
        """coarse (M, C1), skip (N, C2) -> (N, C')"""
        weight, shift = self.folded()
        split = coarse.shape[1]
        known = coarse @ weight[:, :split].t()  # (M, C')
        shares = way.weights.to(known.dtype)  # (N, 3); bfloat16 under autocast
        spread = F.embedding_bag(way.nearest, known, per_sample_weights=shares, mode="sum")  # (N, C')
        return self.finish(spread + F.linear(skip, weight[:, split:], shift))

    def multiply_adds(self, coarse: Tensor, skip: Tensor, way: Interpolation) -> int:
        """Of ``forward``."""
        return (coarse.numel() + skip.numel() + 3 * len(skip)) * self.out_features


class InterpolatedMLP(nn.Module):
    """An MLP on features that are interpolated to finer points and concatenated with those points' own (PointNet++,
    section 3.4)."""

    def __init__(self, coarse: int, skip: int, channels: list[int]) -> None:
        super().__init__()
        self.first = InterpolatedLayer(coarse, skip, channels[0])
        self.rest = mlp(channels)

    def forward(self, coarse: Tensor, skip: Tensor, way: Interpolation) -> Tensor:
        """coarse (M, C1), skip (N, C2) -> (N, C')"""
        compiled = compiled_for(skip, [self])
        if compiled is None:
            return self.rest(self.first(coarse, skip, way))
        first = self.first.affine()
        known = project(compiled, coarse, first.columns(0, self.first.coarse))  # (M, C)
        layers = [Affine(first.columns(self.first.coarse), first.shift), *self.rest.affines()]
        return run_rows(compiled, skip, layers, spread=Spread(known, way.nearest, way.weights, layer=0))


class GroupedMLP(nn.Module):
    """A shared MLP on the offsets and features of each group's rows, then the maximum per channel (PointNet++, section
    3.2)."""

    def __init__(self, channels: list[int], epsilon: float = 1e-5) -> None:
        """channels: of a row's features, then of each layer."""
        super().__init__()
        self.first = GroupedLayer(3 + channels[0], channels[1], epsilon=epsilon)
        self.rest = mlp(channels[1:], epsilon=epsilon)
        self.out = channels[-1]

    def forward(self, xyz: Tensor, features: Tensor, centres: Tensor, rows: Tensor) -> Tensor:
        """xyz (S, 3), features (S, C), centres (G, 3), rows (G, K) of S -> (G, C')"""
        compiled = compiled_for(features, [self])
        if compiled is not None:
            first = self.first.affine()
            near = project(compiled, features, first.columns(3))  # (S, C')
            layers = [Affine(first.columns(0, 3), first.shift), *self.rest.affines()]
            weights, shifts = [layer.weight for layer in layers], [layer.shift for layer in layers]
            return compiled.mlp_groups(near, xyz.contiguous(), centres.contiguous(), rows.contiguous(), weights, shifts)
        near, own = self.first(torch.cat([xyz, features], dim=1), centres)
        # Batch statistics need all rows, and gradients need all results.
        norm = self.first.norm
        if torch.is_grad_enabled() or is_whole() or (norm is not None and norm.training):
            return self._largest(near, own, rows)
        result = near.new_empty(len(rows), self.out)
        for here, size in by_size(rows):
            for some in here.split(max(1, _ROWS // size)):
                result[some] = self._largest(near, own[some], rows[some, :size])
        return result

    def _largest(self, near: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        """The maxima (g, C') of rows (g, K), from the first layer's projections ``near`` (S, C) and ``own`` (g, C)."""
        each = self.rest(self.first.gather(near, own, rows))  # (g * K, C')
        return each.view(*rows.shape, -1).amax(dim=1)


def by_size(rows: Tensor) -> list[tuple[Tensor, int]]:
    """The groups of rows (G, K) in parts (g,) whose first columns, a power of two or K, hold all of a group's rows.

    A group of fewer than K rows is filled up with its first one, which does not change a maximum.
    """
    most = rows.shape[1]
    last = (rows != rows[:, :1]).long() * torch.arange(most, device=rows.device)  # (G, K)
    used = last.amax(dim=1) + 1  # (G,)
    parts, size, done = [], 1, 0
    while done < most:
        here = torch.nonzero((used > done) & (used <= size))[:, 0]
        if len(here):
            parts.append((here, size))
        done, size = size, min(2 * size, most)
    return parts
