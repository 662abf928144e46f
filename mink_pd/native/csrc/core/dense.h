// Register-blocked inner loop of dense layers (blocks.h has the sparse convolution's): complete sums of a few rows by
// one panel of output channels, with the ReLU applied while they are in registers.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "blocks.h"

namespace mink_pd {

// A row starts every `stride` floats. `start` is what the sums begin with; a stride of 0 makes it the same for all
// rows.
struct DensePanel {
    const float* x;
    int64_t x_stride, in;
    const float* w;  // (in, panel's width)
    const float* start;
    int64_t start_stride;
    float* y;
    int64_t y_stride;
    bool relu;
};

// Sums of R rows from `row` on, over V vectors of channels, in the order of the input channels.
template <int R, int V>
void dense_block(const DensePanel& p, int64_t row) {
    const float* from[R];
    Vector sum[R][V];
    UNROLL for (int r = 0; r < R; ++r) {
        from[r] = p.x + (row + r) * p.x_stride;
        UNROLL for (int v = 0; v < V; ++v)
            sum[r][v] = load(p.start + (row + r) * p.start_stride + v * LANES);
    }
    add_channels<R, V>(from, p.w, p.in, sum);
    const Vector zero{};
    UNROLL for (int r = 0; r < R; ++r) {
        UNROLL for (int v = 0; v < V; ++v) {
            if (p.relu) sum[r][v] = sum[r][v] < zero ? zero : sum[r][v];  // NaN stays
            store(p.y + (row + r) * p.y_stride + v * LANES, sum[r][v]);
        }
    }
}

template <int V, int... R>
constexpr auto dense_table(std::integer_sequence<int, R...>) {
    return std::array{&dense_block<R + 1, V>...};
}

// The sums of `rows` rows, in groups that are as even as can be: a small group takes as long as one of five.
template <int V>
void dense_rows(const DensePanel& panel, int64_t rows) {
    static constexpr auto table = dense_table<V>(std::make_integer_sequence<int, ROWS[V]>());
    const int64_t groups = (rows + ROWS[V] - 1) / ROWS[V];
    for (int64_t g = 0, row = 0; g < groups; ++g) {
        const int64_t end = rows * (g + 1) / groups;
        table[end - row - 1](panel, row);
        row = end;
    }
}

}  // namespace mink_pd
