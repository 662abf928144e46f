// Register-blocked inner loops of the sparse convolution, on the compiler's vector types.
//
// A block keeps its sums in registers while it runs over channels (accumulate) or over pairs (outer). Every sum is
// formed in the order of its channels or pairs, whatever the size of the block, so that results do not depend on how
// the work was cut.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mink_pd {

// A panel is the widest strip of output channels that one block covers: up to MAX_VECTORS vectors of LANES floats.
#if defined(__AVX512F__)
constexpr int LANES = 16, MAX_VECTORS = 4;  // 32 registers
constexpr int ROWS[] = {0, 8, 8, 8, 6}, OUTER_ROWS[] = {0, 16, 12, 8, 6};
#elif defined(__aarch64__)
constexpr int LANES = 4, MAX_VECTORS = 4;  // 32 registers
constexpr int ROWS[] = {0, 8, 8, 8, 6}, OUTER_ROWS[] = {0, 16, 12, 8, 6};
#elif defined(__AVX__)
constexpr int LANES = 8, MAX_VECTORS = 2;  // 16 registers
constexpr int ROWS[] = {0, 8, 6}, OUTER_ROWS[] = {0, 12, 6};
#else
constexpr int LANES = 4, MAX_VECTORS = 2;
constexpr int ROWS[] = {0, 8, 6}, OUTER_ROWS[] = {0, 12, 6};
#endif
constexpr int PANEL = LANES * MAX_VECTORS, MOST_ROWS = 8, MOST_OUTER_ROWS = 16;

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

inline int64_t padded(int64_t channels) { return (channels + LANES - 1) / LANES * LANES; }

// Splits padded channels into panels; calls use(first channel, vectors).
template <typename Use>
void for_each_panel(int64_t width, Use&& use) {
    for (int64_t first = 0; first < width; first += PANEL) use(first, std::min<int64_t>(PANEL, width - first) / LANES);
}

inline Vector load(const float* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

// A store past the caches: they need not fetch what is overwritten, which takes most of the time of large results. Of
// aligned vectors only; fence() before another thread reads them.
inline void stream(float* to, Vector v) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)v);
#elif defined(__AVX__)
    _mm256_stream_ps(to, (__m256)v);
#elif defined(__x86_64__)
    _mm_stream_ps(to, (__m128)v);
#else
    store(to, v);
#endif
}
inline void fence() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}
template <bool STREAM>
inline void put(float* to, Vector v) {
    if constexpr (STREAM)
        stream(to, v);
    else
        store(to, v);
}

// Whether to stream rows (rows, channels) that start every `stride` floats: where they are aligned, and more than a
// second-level cache keeps.
inline bool worth_streaming(const float* rows_begin, int64_t stride, int64_t rows, int64_t channels) {
    constexpr int64_t CACHED = 1 << 20;  // floats: 4 MB
    const bool aligned = reinterpret_cast<uintptr_t>(rows_begin) % sizeof(Vector) == 0 && stride % LANES == 0;
    return aligned && channels % LANES == 0 && rows * channels > CACHED;
}

// The sums must live in registers, which takes complete unrolling.
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// Keeps the compiler from loading a vector anew at every use: loads, not sums, would then set the pace.
#if defined(__x86_64__)
template <typename V>
inline void hold(V& v) {
    asm("" : "+x"(v));
}
#else
template <typename V>
inline void hold(V&) {}
#endif

struct Pairs {
    const int32_t *source, *target;
    int64_t count;
};

// x[source] (channels of a row that is `stride` long) times panels of weights (in, panel's width), of which `channels`
// rows count, for y[target - first_row], a row that is `width` long.
struct Product {
    const float* x;
    int64_t stride, in, channels;
    const float* w;
    int64_t panels;
    float* y;
    int64_t width, first_row;
};

// sum[r] += row[r][c] * w[c] for the channels c of R rows, one at least, and a panel of V vectors. Returns where the
// weights end.
template <int R, int V>
[[gnu::always_inline]] inline const float* add_channels(const float* const (&row)[R], const float* w, int64_t channels,
                                                        Vector (&sum)[R][V]) {
    int64_t c = 0;
    do {  // a loop that could end before its start would cost registers
        Vector weight[V];
        UNROLL for (int v = 0; v < V; ++v)
            hold(weight[v] = load(w + v * LANES));
        UNROLL for (int r = 0; r < R; ++r) {
            const float value = row[r][c];
            UNROLL for (int v = 0; v < V; ++v)
                sum[r][v] += value * weight[v];
        }
        w += V * LANES;
    } while (++c < channels);
    return w;
}

// y[target] += sum over c of x[source][c] * w[c], for R pairs at a time, by panels of V vectors. All panels of R pairs
// follow each other: rows that are scattered in memory are fetched once.
template <int R, int V>
void multiply(const int32_t* source, const int32_t* target, int64_t groups, const Product& p) {
    for (; groups > 0; --groups, source += R, target += R) {
        const float* row[R];
        float* to[R];
        UNROLL for (int r = 0; r < R; ++r) {
            row[r] = p.x + source[r] * p.stride;
            to[r] = p.y + (target[r] - p.first_row) * p.width;
        }
        const float* w = p.w;
        for (int64_t panel = 0; panel < p.panels; ++panel, w += (p.in - p.channels) * V * LANES) {
            Vector sum[R][V];
            UNROLL for (int r = 0; r < R; ++r) {
                UNROLL for (int v = 0; v < V; ++v)
                    sum[r][v] = load(to[r] + v * LANES);
            }
            w = add_channels<R, V>(row, w, p.channels, sum);
            UNROLL for (int r = 0; r < R; ++r) {
                UNROLL for (int v = 0; v < V; ++v)
                    store(to[r] + v * LANES, sum[r][v]);
                to[r] += V * LANES;
            }
        }
    }
}

// w[r][0:V*LANES] += sum over pairs of x[source][r] * y[target][0:V*LANES], for R channels r; strides in floats.
template <int R, int V>
void outer(Pairs pairs, const float* x, int64_t x_stride, const float* y, int64_t y_stride, float* w,
           int64_t w_stride) {
    Vector sum[R][V];
    UNROLL for (int r = 0; r < R; ++r) {
        UNROLL for (int v = 0; v < V; ++v)
            sum[r][v] = load(w + r * w_stride + v * LANES);
    }
    for (int64_t p = 0; p < pairs.count; ++p) {
        const float* from = x + pairs.source[p] * x_stride;
        const float* to = y + pairs.target[p] * y_stride;
        Vector gradient[V];
        UNROLL for (int v = 0; v < V; ++v)
            gradient[v] = load(to + v * LANES);
        UNROLL for (int r = 0; r < R; ++r) {
            const float value = from[r];
            UNROLL for (int v = 0; v < V; ++v)
                sum[r][v] += value * gradient[v];
        }
    }
    UNROLL for (int r = 0; r < R; ++r) {
        UNROLL for (int v = 0; v < V; ++v)
            store(w + r * w_stride + v * LANES, sum[r][v]);
    }
}

// Cuts pairs into groups of at most `most`, as even as can be: a small group takes as long as one of five. Calls
// use(pairs' sources, targets, groups, rows of each) once or twice.
template <typename Use>
void for_even_groups(Pairs pairs, int64_t most, Use&& use) {
    const uint32_t count = uint32_t(pairs.count), groups = (count + most - 1) / most;
    if (groups == 0) return;
    const int64_t rows = count / groups, longer = count % groups, after = longer * (rows + 1);
    if (longer > 0) use(pairs.source, pairs.target, longer, rows + 1);
    use(pairs.source + after, pairs.target + after, groups - longer, rows);
}

// Tables of the blocks for 1 to N rows and V vectors.
template <int V, int... R>
constexpr auto multiply_table(std::integer_sequence<int, R...>) {
    return std::array{&multiply<R + 1, V>...};
}
template <int V, int... R>
constexpr auto outer_table(std::integer_sequence<int, R...>) {
    return std::array{&outer<R + 1, V>...};
}

template <int V>
void multiply_groups(Pairs pairs, const Product& product) {
    static constexpr auto table = multiply_table<V>(std::make_integer_sequence<int, ROWS[V]>());
    for_even_groups(pairs, ROWS[V], [&](const int32_t* source, const int32_t* target, int64_t groups, int64_t rows) {
        table[rows - 1](source, target, groups, product);
    });
}
// Cuts `count` rows into even groups of at most OUTER_ROWS[V] and calls use(first, rows, block) for each.
template <int V, typename Use>
void outer_groups(int64_t count, Use&& use) {
    static constexpr auto table = outer_table<V>(std::make_integer_sequence<int, OUTER_ROWS[V]>());
    const int64_t groups = (count + OUTER_ROWS[V] - 1) / OUTER_ROWS[V];
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = count * g / groups, rows = count * (g + 1) / groups - first;
        use(first, rows, table[rows - 1]);
    }
}

// Calls use(std::integral_constant<int, V>) for a number of vectors known at run time only.
template <typename Use>
void with_vectors(int64_t vectors, Use&& use) {
    if (vectors == 1) return use(std::integral_constant<int, 1>());
    if (vectors == 2) return use(std::integral_constant<int, 2>());
    if constexpr (MAX_VECTORS > 2) {
        if (vectors == 3) return use(std::integral_constant<int, 3>());
        if (vectors == 4) return use(std::integral_constant<int, 4>());
    }
}

}  // namespace mink_pd
