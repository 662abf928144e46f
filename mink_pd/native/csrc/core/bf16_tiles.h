// Products in bfloat16 on matrix tiles (Intel AMX, Sapphire Rapids and later).
//
// A tile of features is 16 pairs x DEPTH channels, a tile of weights DEPTH channels x 16, two channels side by side in
// each 32-bit place, and a tile of sums 16 pairs x 16 (Intel's Architecture Instruction Set Extensions, chapter on
// AMX).
#pragma once

#include "bf16.h"

#if defined(MINK_PD_BF16) && defined(__AMX_BF16__) && defined(__linux__)
#define MINK_PD_BF16_TILES 1

#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "panels.h"

namespace mink_pd::bf16 {

constexpr int64_t GATHERED = 32;  // pairs whose features are gathered at once: tiles cannot be loaded from rows apart

// Whether the system lets this process use the tiles' registers; it must be asked once.
inline bool permitted() {
    static const bool granted = [] {
        constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
        return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    }();
    return granted;
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
class Tiles {
 public:
    Tiles(const uint16_t* x, const uint16_t* w, int64_t in, int64_t width)
        : x_(x), w_(w), depth_(padded_depth(in)), step_(depth_of(in)), width_(width), rows_(GATHERED * depth_) {
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        std::fill(shape.bytes, shape.bytes + 8, 64);
        std::fill(shape.rows, shape.rows + 8, SIDE);
        std::fill(shape.bytes + FEATURES, shape.bytes + WEIGHTS, uint16_t(2 * step_));
        std::fill(shape.rows + WEIGHTS, shape.rows + 8, uint8_t(step_ / 2));
        asm volatile("ldtilecfg %0" ::"m"(shape));
    }
    ~Tiles() { asm volatile("tilerelease"); }
    Tiles(const Tiles&) = delete;

    // y[target - first_row] += x[source] w[offset]
    void operator()(Pairs pairs, int64_t offset, TargetRows y, int64_t first_row) {
        const uint16_t* w = w_ + offset * depth_ * width_;
        for (; pairs.count > 0; pairs.source += GATHERED, pairs.target += GATHERED, pairs.count -= GATHERED) {
            const Pairs some{pairs.source, pairs.target, std::min(GATHERED, pairs.count)};
            for (int64_t p = 0; p < some.count; ++p) gather(x_ + some.source[p] * depth_, rows_.data() + p * depth_);
            float* to = y.values - first_row * y.stride;
            for (int64_t n = 0; n < width_; n += 2 * SIDE)
                with_tiles(some.count > SIDE, width_ - n > SIDE, [&](auto tall, auto wide) {
                    add_tiles<tall() ? 2 : 1, wide() ? 2 : 1>(some, w + n * depth_, {to + n, y.stride});
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

    // Two tiles of features by two of weights: each is loaded once for two products. Weights come from the second-level
    // cache.
    static constexpr int FEATURES = 4, WEIGHTS = 6;  // sums are 0 to 3

    template <typename Use>
    static void with_tiles(bool tall, bool wide, Use&& use) {
        const auto with_width = [&](auto tall) { wide ? use(tall, std::true_type()) : use(tall, std::false_type()); };
        tall ? with_width(std::true_type()) : with_width(std::false_type());
    }

    template <int M, int N>
    void add_tiles(Pairs some, const uint16_t* w, TargetRows y) {
        for_each_tile<M * N>([](auto i) { clear<i()>(); });
        for (int64_t c = 0; c < depth_; c += step_) {
            for_each_tile<M>(
                [&](auto m) { load_tile<FEATURES + m()>(rows_.data() + m() * SIDE * depth_ + c, 2 * depth_); });
            for_each_tile<N>([&](auto n) { load_tile<WEIGHTS + n()>(w + n() * SIDE * depth_ + c * SIDE, 4 * SIDE); });
            for_each_tile<M * N>([](auto i) { multiply_add<i(), FEATURES + i() / N, WEIGHTS + i() % N>(); });
        }
        constexpr int64_t ROW = N * SIDE;
        for_each_tile<M * N>([&](auto i) {
            store_tile<i()>(sums_ + i() / N * SIDE * ROW + i() % N * SIDE, ROW * int64_t(sizeof(float)));
        });
        for (int64_t p = 0; p < some.count; ++p) {
            UNROLL for (int n = 0; n < N; ++n) {
                float* to = y.values + some.target[p] * y.stride + n * SIDE;
                store(to, load(to) + load(sums_ + p * ROW + n * SIDE));
            }
        }
    }

    // Calls use(std::integral_constant<int, i>) for i from 0 to COUNT - 1.
    template <int COUNT, typename Use>
    static void for_each_tile(Use&& use) {
        for_each_of(use, std::make_integer_sequence<int, COUNT>());
    }
    template <typename Use, int... I>
    static void for_each_of(Use&& use, std::integer_sequence<int, I...>) {
        (use(std::integral_constant<int, I>()), ...);
    }

    const uint16_t *x_, *w_;
    int64_t depth_, step_, width_;
    std::vector<uint16_t> rows_;  // (GATHERED, depth)
    alignas(64) float sums_[GATHERED * 2 * SIDE];
};

}  // namespace mink_pd::bf16
#endif
