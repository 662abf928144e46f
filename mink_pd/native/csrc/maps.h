// Kernel maps: which input row meets which output row under which offset of the kernel; and sites made from others.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace mink_pd {

// Output rows that the shortest stretch of a pair list is cut for; users of a list join stretches.
constexpr int64_t TILE = 32;

// A list of pairs, sorted by (offset, target row): source (P,), target (P,) int32, and table int32 (tiles + 1, K):
// the pairs of offset k with targets in tile t are table[t, k] .. table[t + 1, k]. At one offset a row meets at most
// one other.
using PairList = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

// Pairs (fine row, coarse row) with fine coordinate = coarse coordinate + offset; fine rows are the sources.
// Coordinates int32 (M, 1 + D), frame first, unique; offsets int32 (K, D) in the same units.
PairList neighbours(const at::Tensor& fine, const at::Tensor& coarse, const at::Tensor& offsets);

// The same pairs with the roles exchanged; `rows` is the number of rows that become targets.
PairList inverse(const at::Tensor& source, const at::Tensor& target, const at::Tensor& table, int64_t rows);

// Every coordinate + offset that is a multiple of `step` (D,), once, in the order of frames, then axes:
// int32 (N, 1 + D).
at::Tensor grow(const at::Tensor& coordinates, const at::Tensor& offsets, at::IntArrayRef step);

// Every coordinate rounded down to a multiple of `step` (D,), likewise.
at::Tensor strided(const at::Tensor& coordinates, at::IntArrayRef step);

}  // namespace mink_pd
