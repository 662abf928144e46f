// Operands of products in bfloat16: features and weights are rounded to 8 bits of mantissa, products and sums are
// float32. bf16_tiles.h has the products on matrix tiles, bf16_dot.h those on vectors.
#pragma once

#if defined(__AVX512BF16__)
#define MINK_PD_BF16 1

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "blocks.h"
#include "memory.h"
#include "tasks.h"

namespace mink_pd::bf16 {

constexpr int64_t SIDE = 16;        // pairs, and channels of sums, of a tile
constexpr int64_t MOST_DEPTH = 32;  // channels of a tile

inline int64_t depth_of(int64_t in) { return in <= SIDE ? SIDE : MOST_DEPTH; }
inline int64_t padded_depth(int64_t in) { return (in + depth_of(in) - 1) / depth_of(in) * depth_of(in); }

inline __m512 load_some(const float* from, int64_t count) {
    return _mm512_maskz_loadu_ps(count >= LANES ? 0xffff : __mmask16((1u << std::max<int64_t>(count, 0)) - 1), from);
}
// Masks of all lanes: GCC 12 warns of its own header where there is none.
inline __m512i widened(__m512 v) { return _mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)_mm512_cvtneps_pbh(v)); }

// (rows, in) -> bfloat16 (rows, padded_depth(in))
inline Scratch<uint16_t> round_rows(Pool& pool, const float* from, int64_t rows, int64_t in) {
    const int64_t depth = padded_depth(in);
    Scratch<uint16_t> rounded(rows * depth);
    uint16_t* to = rounded.data();
    split_tasks(pool, rows, [&](int64_t first, int64_t last) {
        for (int64_t r = first; r < last; ++r)
            for (int64_t c = 0; c < depth; c += LANES) {
                const __m256bh some = _mm512_cvtneps_pbh(load_some(from + r * in + c, in - c));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + r * depth + c), (__m256i)some);
            }
    });
    return rounded;
}

// Weights (volume, in, out) -> bfloat16 tiles (volume, out / 16, padded_depth(in) / 2, 16, 2), padded with zeros
inline Scratch<uint16_t> round_weights(Pool& pool, const float* weights, int64_t volume, int64_t in, int64_t out) {
    const int64_t depth = padded_depth(in), width = padded(out);
    Scratch<uint16_t> rounded(volume * depth * width);
    for_each_task(pool, volume, [&](int64_t k) {
        const float* from = weights + k * in * out;
        uint16_t* to = rounded.data() + k * depth * width;
        for (int64_t n = 0; n < width; n += SIDE)
            for (int64_t c = 0; c < depth; c += 2, to += 2 * SIDE) {
                const __m512i even = widened(load_some(from + c * out + n, c < in ? out - n : 0));
                const __m512i odd = widened(load_some(from + (c + 1) * out + n, c + 1 < in ? out - n : 0));
                _mm512_storeu_si512(to, _mm512_or_si512(even, _mm512_maskz_slli_epi32(0xffff, odd, 16)));
            }
    });
    return rounded;
}

}  // namespace mink_pd::bf16
#endif
