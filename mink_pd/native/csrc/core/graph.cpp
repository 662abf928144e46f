// Edges of a local graph (PointDistiller, Zhang et al. 2023, section 3.1) that are never stored.
//
// An edge from centre i to neighbour j has the features a[j] + b[i], two rows that were projected once. Each pass forms
// them again in registers: statistics of the edge norm come from sums over rows, the comparison of two networks runs
// over the edges of a centre, and what flows back to a neighbour over the edges that arrive at it (a transposed
// adjacency). Sums of a row run in the order of its edges, sums over rows in segments of fixed length: results are the
// same bits at every run and any number of threads.
#include "graph.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>
#include <vector>

#include "blocks.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t SEGMENT = 64;           // rows that one task sums up
constexpr int64_t CENTRES_AT_ONCE = 512;  // whose edges one task counts and sorts by neighbour, at least
constexpr int64_t MOST_PARTS = 8;         // of the centres, for each of which every row has a counter

typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(float))));

inline Vector positive(Vector x) { return x < 0 ? Vector{} : x; }  // NaN stays
inline Vector where_positive(Vector x, Vector value) { return (Vector)((Mask)value & (Mask)(x > 0)); }
inline double total(Vector x) {
    double sum = 0;
    for (int l = 0; l < LANES; ++l) sum += x[l];
    return sum;
}

// add(row, sums) adds a row's values to double sums (width,).
template <typename Add>
std::vector<double> sum_rows(Pool& pool, int64_t rows, int64_t width, Add&& add) {
    const int64_t segments = (rows + SEGMENT - 1) / SEGMENT;
    std::vector<double> parts(std::max<int64_t>(segments, 1) * width, 0.);
    for_each_task(pool, segments, [&](int64_t s) {
        for (int64_t row = s * SEGMENT; row < std::min(rows, (s + 1) * SEGMENT); ++row) add(row, &parts[s * width]);
    });
    for (int64_t s = 1; s < segments; ++s)
        for (int64_t c = 0; c < width; ++c) parts[c] += parts[s * width + c];
    parts.resize(width);
    return parts;
}

// Sum over edges of x (rows, channels); `to` (rows, channels padded) becomes x less its mean over edges.
std::vector<double> centre(Pool& pool, const float* from, const Adjacency& graph, int64_t channels, float* to) {
    const int64_t rows = graph.rows, width = padded(channels);
    const int32_t* start = graph.start;
    const std::vector<double> sum = sum_rows(pool, rows, channels, [&](int64_t row, double* sums) {
        const double edges = start[row + 1] - start[row];
        for (int64_t c = 0; c < channels; ++c) sums[c] += edges * from[row * channels + c];
    });
    const double count = std::max(1, start[rows]);
    std::vector<double> mean(channels);
    for (int64_t c = 0; c < channels; ++c) mean[c] = sum[c] / count;
    for_each_task(pool, (rows + SEGMENT - 1) / SEGMENT, [&](int64_t s) {
        for (int64_t row = s * SEGMENT; row < std::min(rows, (s + 1) * SEGMENT); ++row) {
            for (int64_t c = 0; c < channels; ++c) to[row * width + c] = float(from[row * channels + c] - mean[c]);
            std::fill(to + row * width + channels, to + (row + 1) * width, 0.f);
        }
    });
    return sum;
}

// to[0:width] = sum of x[other] over the edges of a row
void sum_others(const Adjacency& graph, int64_t row, const float* x, int64_t width, float* to) {
    const int32_t* other = graph.other + graph.start[row];
    for_each_panel(width, [&](int64_t first, int64_t vectors) {
        with_vectors(vectors, [&](auto v_) {
            constexpr int V = v_();
            Vector sum[V] = {};
            for (int64_t k = 0; k < graph.degree(row); ++k) {
                const float* from = x + other[k] * width + first;
                UNROLL for (int v = 0; v < V; ++v)
                    sum[v] += load(from + v * LANES);
            }
            UNROLL for (int v = 0; v < V; ++v)
                store(to + first + v * LANES, sum[v]);
        });
    });
}

// The edges of centre i: sums += weight * sum of (t - s)^2, sum of t^2, sum of s^2; and d sums[0] / d (b of T and S).
template <int V, bool T, bool S>
void compare_centre(const Adjacency& graph, int64_t i, const Network& teacher, const Network& student, int64_t width,
                    float weight, int64_t first, float* of_teacher, float* of_student, double* sums) {
    const int32_t *j = graph.other + graph.start[i], *end = graph.other + graph.start[i + 1];
    Vector bt[V], bs[V], dt[V] = {}, ds[V] = {}, loss[V] = {}, tt[V] = {}, ss[V] = {};
    UNROLL for (int v = 0; v < V; ++v) {
        const int64_t at = first + v * LANES;
        bt[v] = load(teacher.b + i * width + at) + load(teacher.shift + at);
        bs[v] = load(student.b + i * width + at) + load(student.shift + at);
    }
    for (; j < end; ++j) {
        const float *t = teacher.a + *j * width + first, *s = student.a + *j * width + first;
        UNROLL for (int v = 0; v < V; ++v) {
            const Vector x = positive(load(t + v * LANES) + bt[v]), y = positive(load(s + v * LANES) + bs[v]);
            const Vector d = x - y;
            loss[v] += d * d;
            tt[v] += x * x;
            ss[v] += y * y;
            if constexpr (T) dt[v] += where_positive(x, d);
            if constexpr (S) ds[v] += where_positive(y, d);
        }
    }
    UNROLL for (int v = 0; v < V; ++v) {
        sums[0] += weight * total(loss[v]);
        sums[1] += total(tt[v]);
        sums[2] += total(ss[v]);
        if constexpr (T) store(of_teacher + i * width + first + v * LANES, 2 * weight * dt[v]);
        if constexpr (S) store(of_student + i * width + first + v * LANES, -2 * weight * ds[v]);
    }
}

// The edges that arrive at row j: d sums[0] / d (a of T and S), and the sums of b.
template <int V, bool T, bool S>
void compare_neighbour(const Adjacency& graph, int64_t j, const Network& teacher, const Network& student, int64_t width,
                       const float* weight, int64_t first, const NetworkGradient& of_teacher,
                       const NetworkGradient& of_student) {
    const int32_t *i = graph.other + graph.start[j], *end = graph.other + graph.start[j + 1];
    Vector at[V], as[V], dt[V] = {}, ds[V] = {}, sum_t[V] = {}, sum_s[V] = {};
    UNROLL for (int v = 0; v < V; ++v) {
        const int64_t c = first + v * LANES;
        at[v] = load(teacher.a + j * width + c) + load(teacher.shift + c);
        as[v] = load(student.a + j * width + c) + load(student.shift + c);
    }
    for (; i < end; ++i) {
        const float *t = teacher.b + *i * width + first, *s = student.b + *i * width + first, w = 2 * weight[*i];
        UNROLL for (int v = 0; v < V; ++v) {
            const Vector bt = load(t + v * LANES), bs = load(s + v * LANES);
            const Vector x = positive(at[v] + bt), y = positive(as[v] + bs), d = w * (x - y);
            if constexpr (T) dt[v] += where_positive(x, d), sum_t[v] += bt;
            if constexpr (S) ds[v] += where_positive(y, d), sum_s[v] += bs;
        }
    }
    UNROLL for (int v = 0; v < V; ++v) {
        const int64_t c = j * width + first + v * LANES;
        if constexpr (T) store(of_teacher.a + c, dt[v]), store(of_teacher.sum_b + c, sum_t[v]);
        if constexpr (S) store(of_student.a + c, -ds[v]), store(of_student.sum_b + c, sum_s[v]);
    }
}

// Calls use(std::bool_constant, std::bool_constant).
template <typename Use>
void with_flags(bool first, bool second, Use&& use) {
    if (first && second) return use(std::true_type(), std::true_type());
    if (first) return use(std::true_type(), std::false_type());
    if (second) return use(std::false_type(), std::true_type());
    use(std::false_type(), std::false_type());
}

}  // namespace

void Adjacency::check_start() const {
    require(start[0] == 0 && start[rows] == edges, "start and edges do not fit");
    bool ascending = true;
    for (int64_t row = 0; row < rows; ++row) ascending &= start[row] <= start[row + 1];
    require(ascending, "start must not descend");
}

void Adjacency::check(int64_t others) const {
    check_start();
    require(all_within(other, edges, 0, others), "an edge leads to none of the rows");
}

void transpose_edges(Pool& pool, const int64_t* from, int64_t edges, const int64_t* degrees, int64_t centres,
                     int64_t rows, const TransposedMemory& result) {
    constexpr int64_t MOST_ROWS = int64_t(1) << 26;  // each of which has counters
    require(edges <= std::numeric_limits<int32_t>::max() && centres < std::numeric_limits<int32_t>::max(),
            "a graph has more than 2^31 edges or centres");
    require(rows >= 0 && rows <= MOST_ROWS, "the number of rows is negative or above 2^26");
    int32_t* start = result.start(centres + 1);
    int64_t total = 0;
    start[0] = 0;
    for (int64_t i = 0; i < centres; ++i) {
        require(degrees[i] >= 0 && degrees[i] <= edges - total, "degree does not add up to the number of edges");
        start[i + 1] = int32_t(total += degrees[i]);
    }
    require(total == edges, "degree does not add up to the number of edges");

    const int64_t some = std::max(CENTRES_AT_ONCE, (centres + MOST_PARTS - 1) / MOST_PARTS);
    const int64_t parts = (centres + some - 1) / some;
    const auto part = [&](int64_t p) { return std::pair(p * some, std::min(centres, (p + 1) * some)); };
    std::vector<int32_t> position(parts * rows, 0);  // by part and row: how many edges, later where they go
    std::atomic<bool> inside{true};
    for_each_task(pool, parts, [&](int64_t p) {
        const auto [first, last] = part(p);
        for (int64_t e = start[first]; e < start[last]; ++e) {
            if (uint64_t(from[e]) < uint64_t(rows))
                ++position[p * rows + from[e]];
            else
                inside.store(false, std::memory_order_relaxed);
        }
    });
    require(inside, "a neighbour lies outside the rows");
    std::vector<int32_t> place(rows), arriving{0};
    std::vector<int64_t> touched;
    int32_t sum = 0;
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t p = 0; p < parts; ++p) sum += std::exchange(position[p * rows + row], sum);
        if (sum == arriving.back()) continue;
        place[row] = int32_t(touched.size());
        touched.push_back(row);
        arriving.push_back(sum);
    }
    int32_t *other = result.neighbours(edges), *source = result.centres(edges);
    for_each_task(pool, parts, [&](int64_t p) {
        const auto [first, last] = part(p);
        for (int64_t i = first; i < last; ++i)
            for (int64_t e = start[i]; e < start[i + 1]; ++e) {
                other[e] = place[from[e]];
                source[position[p * rows + from[e]]++] = int32_t(i);
            }
    });
    std::copy(touched.begin(), touched.end(), result.rows(int64_t(touched.size())));
    std::copy(arriving.begin(), arriving.end(), result.arriving(int64_t(arriving.size())));
}

void edge_moments(Pool& pool, const float* a, const float* b, int64_t channels, const Adjacency& graph,
                  const Adjacency& arriving, float* centred_a, float* centred_b, float* gathered, double* sums) {
    const int64_t width = padded(channels);
    const std::vector<double> sum_a = centre(pool, a, arriving, channels, centred_a);
    const std::vector<double> sum_b = centre(pool, b, graph, channels, centred_b);
    const std::vector<double> squares_a = sum_rows(pool, arriving.rows, width, [&](int64_t row, double* sums) {
        const double edges = double(arriving.degree(row));
        for (int64_t c = 0; c < width; ++c) sums[c] += edges * centred_a[row * width + c] * centred_a[row * width + c];
    });
    const std::vector<double> squares_b = sum_rows(pool, graph.rows, width, [&](int64_t row, double* sums) {
        float* to = gathered + row * width;
        sum_others(graph, row, centred_a, width, to);
        const double edges = double(graph.degree(row));
        for (int64_t c = 0; c < width; ++c) {
            const double own = centred_b[row * width + c];
            sums[c] += own * (2. * to[c] + edges * own);
        }
    });
    const double count = double(graph.edges);
    std::fill(sums, sums + 2 * width, 0.);
    for (int64_t c = 0; c < channels; ++c) {
        sums[c] = sum_a[c] + sum_b[c];
        sums[width + c] = squares_a[c] + squares_b[c] + sums[c] * sums[c] / std::max(1., count);
    }
    std::fill(sums + 2 * width, sums + 3 * width, count);
}

void compare_edges(Pool& pool, const Network& teacher, const Network& student, int64_t width, const float* weights,
                   const Adjacency& graph, const Adjacency& transposed, const NetworkGradient& of_teacher,
                   const NetworkGradient& of_student, double* sums) {
    require(width % LANES == 0, "channels are not padded");
    with_flags(of_teacher.a != nullptr, of_student.a != nullptr, [&](auto t, auto s) {
        const std::vector<double> parts = sum_rows(pool, graph.rows, 3, [&](int64_t i, double* parts) {
            for_each_panel(width, [&](int64_t first, int64_t vectors) {
                with_vectors(vectors, [&](auto v) {
                    compare_centre<v(), t(), s()>(graph, i, teacher, student, width, weights[i], first, of_teacher.b,
                                                  of_student.b, parts);
                });
            });
        });
        std::copy(parts.begin(), parts.end(), sums);
        if constexpr (t() || s())
            for_each_task(pool, (transposed.rows + SEGMENT - 1) / SEGMENT, [&](int64_t segment) {
                const int64_t last = std::min(transposed.rows, (segment + 1) * SEGMENT);
                for (int64_t j = segment * SEGMENT; j < last; ++j)
                    for_each_panel(width, [&](int64_t first, int64_t vectors) {
                        with_vectors(vectors, [&](auto v) {
                            compare_neighbour<v(), t(), s()>(transposed, j, teacher, student, width, weights, first,
                                                             of_teacher, of_student);
                        });
                    });
            });
    });
}

void gradient_sums(Pool& pool, const Rows& a, const Rows& b, int64_t width, double* sums) {
    const auto products = [&](const Rows& x) {
        return sum_rows(pool, x.rows, 2 * width, [&](int64_t row, double* sums) {
            for (int64_t c = 0; c < width; ++c) {
                const double g = x.gradients[row * width + c];
                sums[c] += g;
                sums[width + c] += g * x.values[row * width + c];
            }
        });
    };
    const std::vector<double> from_a = products(a), from_b = products(b);
    std::copy(from_b.begin(), from_b.end(), sums);
    for (int64_t c = width; c < 2 * width; ++c) sums[c] += from_a[c];
}

}  // namespace mink_pd
