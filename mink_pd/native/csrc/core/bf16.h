// Products in bfloat16 on matrix tiles (Intel AMX, Sapphire Rapids and later): operands are rounded to 8 bits of
// mantissa, products and sums are float32.
//
// A tile of features is 16 pairs x DEPTH channels, a tile of weights DEPTH channels x 16, two channels side by side in
// each 32-bit place, and a tile of sums 16 pairs x 16 (Intel's Architecture Instruction Set Extensions, chapter on
// AMX).
#pragma once

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define MINK_PD_BF16 1

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.h"
#include "memory.h"
#include "panels.h"
#include "tasks.h"

namespace mink_pd::bf16 {

constexpr int64_t SIDE = 16;        // pairs, and channels of sums, of a tile
constexpr int64_t GATHERED = 32;    // pairs whose features are gathered at once: tiles cannot be loaded from rows apart
constexpr int64_t MOST_DEPTH = 32;  // channels of a tile

// Whether the system lets this process use the tiles' registers; it must be asked once.
inline bool permitted() {
    static const bool granted = [] {
        constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
        return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    }();
    return granted;
}

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

// The instructions name their registers, which compilers' intrinsics take as literals only, not as template arguments.
template <int TILE>
void clear() {
    asm volatile("tilezero %%tmm%c0" ::"i"(TILE));
}
template <int TILE>
void load_tile(const void* from, int64_t stride) {  // [bytes]
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(TILE) : "memory");
}
template <int TILE>
void store_tile(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(TILE) : "memory");
}
template <int SUM, int A, int B>
void multiply_add() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(A), "i"(B));
}

// What one thread needs: the tiles' registers, set up while this lives, and room to work in. x and w as round_rows and
// round_weights make them.
class Worker {
 public:
    Worker(const uint16_t* x, const uint16_t* w, int64_t in, int64_t width)
        : x_(x), w_(w), depth_(padded_depth(in)), step_(depth_of(in)), width_(width), rows_(GATHERED * depth_) {
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        std::fill(shape.bytes, shape.bytes + 8, 64);
        std::fill(shape.rows, shape.rows + 8, SIDE);
        shape.bytes[FEATURES] = uint16_t(2 * step_);
        std::fill(shape.rows + FIRST_WEIGHTS, shape.rows + 8, uint8_t(step_ / 2));
        asm volatile("ldtilecfg %0" ::"m"(shape));
    }
    ~Worker() { asm volatile("tilerelease"); }
    Worker(const Worker&) = delete;

    // y[target - first_row] += x[source] w[offset]
    void operator()(Pairs pairs, int64_t offset, TargetRows y, int64_t first_row) {
        const uint16_t* w = w_ + offset * depth_ * width_;
        for (; pairs.count > 0; pairs.source += GATHERED, pairs.target += GATHERED, pairs.count -= GATHERED) {
            const Pairs some{pairs.source, pairs.target, std::min(GATHERED, pairs.count)};
            for (int64_t p = 0; p < some.count; ++p) gather(x_ + some.source[p] * depth_, rows_.data() + p * depth_);
            for_each_panel(width_, [&](int64_t first, int64_t vectors) {
                with_vectors(vectors, [&](auto v) {
                    add_panel<v()>(some, w + first * depth_, y.values + first - first_row * y.stride, y.stride);
                });
            });
        }
    }

 private:
    // One row; a call of memcpy would take longer than the copy.
    void gather(const uint16_t* from, uint16_t* to) const {
        for (int64_t c = 0; c < depth_; c += SIDE) {
            const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + c));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + c), some);
        }
    }

    static constexpr int FEATURES = MAX_VECTORS, FIRST_WEIGHTS = FEATURES + 1;  // sums are 0 to MAX_VECTORS - 1

    template <int V>
    void add_panel(Pairs some, const uint16_t* w, float* y, int64_t stride) {
        const auto each = [](auto use) { for_sums(use, std::make_integer_sequence<int, V>()); };
        for (int64_t p = 0; p < some.count; p += SIDE) {
            each([](auto n) { clear<n()>(); });
            for (int64_t c = 0; c < depth_; c += step_) {
                load_tile<FEATURES>(rows_.data() + p * depth_ + c, 2 * depth_);
                each([&](auto n) {
                    constexpr int WEIGHTS = FIRST_WEIGHTS + n() % 3;
                    load_tile<WEIGHTS>(w + n() * SIDE * depth_ + c * SIDE, 4 * SIDE);
                    multiply_add<n(), FEATURES, WEIGHTS>();
                });
            }
            each([&](auto n) { store_tile<n()>(sums_ + (p * V + n()) * SIDE, V * SIDE * sizeof(float)); });
        }
        for (int64_t p = 0; p < some.count; ++p) {
            UNROLL for (int v = 0; v < V; ++v) {
                float* to = y + some.target[p] * stride + v * LANES;
                store(to, load(to) + load(sums_ + (p * V + v) * LANES));
            }
        }
    }

    template <typename Use, int... N>
    static void for_sums(Use&& use, std::integer_sequence<int, N...>) {
        (use(std::integral_constant<int, N>()), ...);
    }

    const uint16_t *x_, *w_;
    int64_t depth_, step_, width_;
    std::vector<uint16_t> rows_;  // (GATHERED, depth)
    alignas(64) float sums_[GATHERED * PANEL];
};

}  // namespace mink_pd::bf16
#endif
