// Products in bfloat16 on vectors (AVX512_BF16: AMD Zen 4 and later, Intel Cooper Lake and Sapphire Rapids).
#pragma once

#include "bf16.h"

#ifdef MINK_PD_BF16

#include <array>
#include <cstring>
#include <utility>

#include "panels.h"

namespace mink_pd::bf16 {

// x[source] times `depth` channels of a panel's strips of weights for y[target - first_row].
struct Halves {
    const uint16_t* x;
    int64_t x_stride;
    const uint16_t* w;
    int64_t w_stride;  // from strip to strip
    int64_t depth;     // even
    TargetRows y;
    int64_t first_row;
};

inline __m512bh pair_in_all_places(const uint16_t* from) {
    int32_t two;
    std::memcpy(&two, from, sizeof two);
    return (__m512bh)_mm512_set1_epi32(two);
}

// y[target] += x[source] w, for R pairs at a time and V strips of 16 channels, as `multiply` of blocks.h does it.
template <int R, int V>
void multiply_halves(const int32_t* source, const int32_t* target, int64_t groups, const Halves& p) {
    for (; groups > 0; --groups, source += R, target += R) {
        const uint16_t* row[R];
        float* to[R];
        __m512 sum[R][V];
        UNROLL for (int r = 0; r < R; ++r) {
            row[r] = p.x + source[r] * p.x_stride;
            to[r] = p.y.values + (target[r] - p.first_row) * p.y.stride;
            UNROLL for (int v = 0; v < V; ++v)
                sum[r][v] = _mm512_loadu_ps(to[r] + v * SIDE);
        }
        int64_t c = 0;
        do {
            __m512bh weight[V];
            UNROLL for (int v = 0; v < V; ++v)
                hold(weight[v] = (__m512bh)_mm512_loadu_si512(p.w + v * p.w_stride + c * SIDE));
            UNROLL for (int r = 0; r < R; ++r) {
                const __m512bh x = pair_in_all_places(row[r] + c);
                UNROLL for (int v = 0; v < V; ++v)
                    sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, weight[v]);
            }
        } while ((c += 2) < p.depth);
        UNROLL for (int r = 0; r < R; ++r) {
            UNROLL for (int v = 0; v < V; ++v)
                _mm512_storeu_ps(to[r] + v * SIDE, sum[r][v]);
        }
    }
}

template <int V, int... R>
constexpr auto halves_table(std::integer_sequence<int, R...>) {
    return std::array{&multiply_halves<R + 1, V>...};
}

// x and w as round_rows and round_weights make them.
class Dots {
 public:
    Dots(const uint16_t* x, const uint16_t* w, int64_t in, int64_t width)
        : x_(x), w_(w), depth_(padded_depth(in)), width_(width) {}

    // y[target - first_row] += x[source] w[offset]
    void operator()(Pairs pairs, int64_t offset, TargetRows y, int64_t first_row) const {
        const uint16_t* w = w_ + offset * depth_ * width_;
        for_each_panel(width_, [&](int64_t first, int64_t vectors) {
            for (int64_t c = 0; c < depth_; c += CACHED_DEPTH) {
                const int64_t depth = std::min(CACHED_DEPTH, depth_ - c);
                const Halves some{x_ + c,        depth_, w + first * depth_ + c * SIDE,
                                  depth_ * SIDE, depth,  {y.values + first, y.stride},
                                  first_row};
                with_vectors(vectors, [&](auto v) { multiply_groups<v()>(pairs, some); });
            }
        });
    }

 private:
    static constexpr int64_t CACHED_DEPTH =
        128;  // channels: a panel of 64 outputs takes 16 KB, half a first-level cache

    template <int V>
    static void multiply_groups(Pairs pairs, const Halves& some) {
        static constexpr auto table = halves_table<V>(std::make_integer_sequence<int, ROWS[V]>());
        for_even_groups(pairs, ROWS[V],
                        [&](const int32_t* source, const int32_t* target, int64_t groups, int64_t rows) {
                            table[rows - 1](source, target, groups, some);
                        });
    }

    const uint16_t *x_, *w_;
    int64_t depth_, width_;
};

}  // namespace mink_pd::bf16
#endif
