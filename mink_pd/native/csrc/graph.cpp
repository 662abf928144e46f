// Edges of a local graph (PointDistiller, Zhang et al. 2023, section 3.1) that are never stored.
//
// An edge from centre i to neighbour j has the features a[j] + b[i], two rows that were projected once. Each pass forms
// them again in registers: statistics of the edge norm come from sums over rows, the comparison of two networks runs
// over the edges of a centre, and what flows back to a neighbour over the edges that arrive at it (a transposed
// adjacency). Sums of a row run in the order of its edges, sums over rows in segments of fixed length: results are the
// same bits at every run and any number of threads.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <atomic>
#include <limits>
#include <utility>
#include <vector>

#include "blocks.h"
#include "check.h"
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

// Rows of one side and those at the other end of their edges: centres and their neighbours, or the transposed.
struct Adjacency {
    const int32_t *start, *other;
    int64_t rows;

    Adjacency(const at::Tensor& starts, const at::Tensor& others) : rows(starts.numel() - 1) {
        check(starts, at::kInt, "start");
        check(others, at::kInt, "edges");
        start = starts.const_data_ptr<int32_t>();
        other = others.const_data_ptr<int32_t>();
        TORCH_CHECK(rows >= 0 && start[rows] == others.numel(), "start and edges do not fit");
    }
    int64_t edges(int64_t row) const { return start[row + 1] - start[row]; }
};

// add(row, sums) adds a row's values to double sums (width,).
template <typename Add>
std::vector<double> sum_rows(int64_t rows, int64_t width, Add&& add) {
    const int64_t segments = (rows + SEGMENT - 1) / SEGMENT;
    std::vector<double> parts(std::max<int64_t>(segments, 1) * width, 0.);
    for_each_task(segments, [&](int64_t s) {
        for (int64_t row = s * SEGMENT; row < std::min(rows, (s + 1) * SEGMENT); ++row) add(row, &parts[s * width]);
    });
    for (int64_t s = 1; s < segments; ++s)
        for (int64_t c = 0; c < width; ++c) parts[c] += parts[s * width + c];
    parts.resize(width);
    return parts;
}

// Sum over edges of x (rows, C), and x less its mean over edges (rows, C padded).
std::pair<std::vector<double>, at::Tensor> centre(const at::Tensor& x, const int32_t* start) {
    check(x, at::kFloat, "rows");
    const int64_t rows = x.size(0), channels = x.size(1), width = padded(channels);
    const float* from = x.const_data_ptr<float>();
    const std::vector<double> sum = sum_rows(rows, channels, [&](int64_t row, double* sums) {
        const double edges = start[row + 1] - start[row];
        for (int64_t c = 0; c < channels; ++c) sums[c] += edges * from[row * channels + c];
    });
    const double count = std::max(1, start[rows]);
    std::vector<double> mean(channels);
    for (int64_t c = 0; c < channels; ++c) mean[c] = sum[c] / count;
    at::Tensor centred = at::empty({rows, width}, x.options());
    float* to = centred.mutable_data_ptr<float>();
    for_each_task((rows + SEGMENT - 1) / SEGMENT, [&](int64_t s) {
        for (int64_t row = s * SEGMENT; row < std::min(rows, (s + 1) * SEGMENT); ++row) {
            for (int64_t c = 0; c < channels; ++c)
                to[row * width + c] = float(from[row * channels + c] - mean[c]);
            std::fill(to + row * width + channels, to + (row + 1) * width, 0.f);
        }
    });
    return {sum, centred};
}

// to[0:width] = sum of x[other] over the edges of a row
void sum_others(const Adjacency& graph, int64_t row, const float* x, int64_t width, float* to) {
    const int32_t* other = graph.other + graph.start[row];
    for_each_panel(width, [&](int64_t first, int64_t vectors) {
        with_vectors(vectors, [&](auto v_) {
            constexpr int V = v_();
            Vector sum[V] = {};
            for (int64_t k = 0; k < graph.edges(row); ++k) {
                const float* from = x + other[k] * width + first;
                UNROLL for (int v = 0; v < V; ++v) sum[v] += load(from + v * LANES);
            }
            UNROLL for (int v = 0; v < V; ++v) store(to + first + v * LANES, sum[v]);
        });
    });
}

// One network's rows after the norm's scale, and the norm's shift (width,).
struct Network {
    const float *a, *b, *shift;
    int64_t width;

    Network(const at::Tensor& a_, const at::Tensor& b_, const at::Tensor& shift_) : width(shift_.numel()) {
        for (const auto* tensor : {&a_, &b_, &shift_}) check(*tensor, at::kFloat, "rows and shift");
        TORCH_CHECK(a_.size(1) == width && b_.size(1) == width && width % LANES == 0, "channels do not fit");
        a = a_.const_data_ptr<float>();
        b = b_.const_data_ptr<float>();
        shift = shift_.const_data_ptr<float>();
    }
};

// What flows back to one network before its norm: to a (U, width), to b (n, width), and sum of b over a row's edges.
struct Gradient {
    at::Tensor a, b, sum_b;
    float *to_a = nullptr, *to_b = nullptr, *to_sum_b = nullptr;

    Gradient(bool wanted, int64_t rows, int64_t centres, int64_t width, at::TensorOptions options) {
        a = at::empty({wanted ? rows : 0, width}, options);
        b = at::empty({wanted ? centres : 0, width}, options);
        sum_b = at::empty_like(a);
        if (!wanted) return;
        to_a = a.mutable_data_ptr<float>();
        to_b = b.mutable_data_ptr<float>();
        to_sum_b = sum_b.mutable_data_ptr<float>();
    }
};

// The edges of centre i: sums += weight * sum of (t - s)^2, sum of t^2, sum of s^2; and d sums[0] / d (b of T and S).
template <int V, bool T, bool S>
void compare_centre(const Adjacency& graph, int64_t i, const Network& teacher, const Network& student, float weight,
                    int64_t first, float* of_teacher, float* of_student, double* sums) {
    const int64_t width = teacher.width;
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
void compare_neighbour(const Adjacency& graph, int64_t j, const Network& teacher, const Network& student,
                       const float* weight, int64_t first, const Gradient& of_teacher, const Gradient& of_student) {
    const int64_t width = teacher.width;
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
        if constexpr (T) store(of_teacher.to_a + c, dt[v]), store(of_teacher.to_sum_b + c, sum_t[v]);
        if constexpr (S) store(of_student.to_a + c, -ds[v]), store(of_student.to_sum_b + c, sum_s[v]);
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

at::Tensor to_tensor(const std::vector<double>& values) {
    at::Tensor result = at::empty({int64_t(values.size())}, at::kDouble);
    std::copy(values.begin(), values.end(), result.mutable_data_ptr<double>());
    return result;
}

using Tensors = std::vector<at::Tensor>;

// Neighbours (E,), rows of M, listed centre by centre with degree (n,) -> the U rows that are a neighbour of any
// int64 (U,); start int32 (n + 1,) and neighbours (E,) among those rows; the same edges sorted by neighbour:
// start (U + 1,), centres (E,).
Tensors transpose_edges(const at::Tensor& neighbour, const at::Tensor& degree, int64_t rows) {
    check(neighbour, at::kLong, "neighbour");
    check(degree, at::kLong, "degree");
    const int64_t edges = neighbour.numel(), centres = degree.numel();
    TORCH_CHECK(edges <= std::numeric_limits<int32_t>::max(), "a graph has more than 2^31 edges");
    const int64_t *from = neighbour.const_data_ptr<int64_t>(), *degrees = degree.const_data_ptr<int64_t>();
    at::Tensor starts = at::empty({centres + 1}, at::kInt);
    int32_t* start = starts.mutable_data_ptr<int32_t>();
    start[0] = 0;
    for (int64_t i = 0; i < centres; ++i) start[i + 1] = start[i] + int32_t(degrees[i]);
    TORCH_CHECK(start[centres] == edges, "degree does not add up to the number of edges");

    const int64_t some = std::max(CENTRES_AT_ONCE, (centres + MOST_PARTS - 1) / MOST_PARTS);
    const int64_t parts = (centres + some - 1) / some;
    const auto part = [&](int64_t p) { return std::pair(p * some, std::min(centres, (p + 1) * some)); };
    std::vector<int32_t> position(parts * rows, 0);  // by part and row: how many edges, later where they go
    std::atomic<bool> inside{true};
    for_each_task(parts, [&](int64_t p) {
        const auto [first, last] = part(p);
        for (int64_t e = start[first]; e < start[last]; ++e) {
            if (uint64_t(from[e]) < uint64_t(rows)) ++position[p * rows + from[e]];
            else inside = false;
        }
    });
    TORCH_CHECK(inside, "a neighbour lies outside the rows");
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
    at::Tensor others = at::empty({edges}, at::kInt), sources = at::empty({edges}, at::kInt);
    int32_t *other = others.mutable_data_ptr<int32_t>(), *source = sources.mutable_data_ptr<int32_t>();
    for_each_task(parts, [&](int64_t p) {
        const auto [first, last] = part(p);
        for (int64_t i = first; i < last; ++i)
            for (int64_t e = start[i]; e < start[i + 1]; ++e) {
                other[e] = place[from[e]];
                source[position[p * rows + from[e]]++] = int32_t(i);
            }
    });
    at::Tensor used = at::empty({int64_t(touched.size())}, at::kLong);
    std::copy(touched.begin(), touched.end(), used.mutable_data_ptr<int64_t>());
    at::Tensor arrivals = at::empty({int64_t(arriving.size())}, at::kInt);
    std::copy(arriving.begin(), arriving.end(), arrivals.mutable_data_ptr<int32_t>());
    return {used, starts, others, arrivals, sources};
}

// a (U, C) and b (n, C) less their means over the edges, padded to (U, width), (n, width); for each centre the sum of
// the first over its neighbours (n, width); float64 (3, width): over all edges sum of a + b, sum of its square, count.
Tensors edge_moments(const at::Tensor& a, const at::Tensor& b, const at::Tensor& start, const at::Tensor& neighbour,
                     const at::Tensor& arriving) {
    check(arriving, at::kInt, "arriving");
    const Adjacency graph(start, neighbour);
    const int32_t* arrival = arriving.const_data_ptr<int32_t>();
    TORCH_CHECK(a.size(0) == arriving.numel() - 1 && b.size(0) == graph.rows && a.size(1) == b.size(1),
                "rows do not fit the graph");
    const auto [sum_a, centred_a] = centre(a, arrival);
    const auto [sum_b, centred_b] = centre(b, graph.start);
    const int64_t channels = a.size(1), width = centred_a.size(1);
    at::Tensor gathered = at::empty_like(centred_b);
    const float *from_a = centred_a.const_data_ptr<float>(), *from_b = centred_b.const_data_ptr<float>();
    float* to = gathered.mutable_data_ptr<float>();
    const std::vector<double> squares_a = sum_rows(a.size(0), width, [&](int64_t row, double* sums) {
        const double edges = arrival[row + 1] - arrival[row];
        for (int64_t c = 0; c < width; ++c) sums[c] += edges * from_a[row * width + c] * from_a[row * width + c];
    });
    const std::vector<double> squares_b = sum_rows(b.size(0), width, [&](int64_t row, double* sums) {
        sum_others(graph, row, from_a, width, to + row * width);
        const double edges = graph.edges(row);
        for (int64_t c = 0; c < width; ++c) {
            const double own = from_b[row * width + c];
            sums[c] += own * (2. * to[row * width + c] + edges * own);
        }
    });
    at::Tensor sums = at::zeros({3, width}, at::kDouble);
    double* sum = sums.mutable_data_ptr<double>();
    const double count = neighbour.numel();
    for (int64_t c = 0; c < channels; ++c) {
        sum[c] = sum_a[c] + sum_b[c];
        sum[width + c] = squares_a[c] + squares_b[c] + sum[c] * sum[c] / std::max(1., count);
    }
    std::fill(sum + 2 * width, sum + 3 * width, count);
    return {centred_a, centred_b, gathered, sums};
}

// With edges t, s = max(a[j] + b[i] + shift, 0) of teacher and student: float64 (3,): sum of weight_i (t - s)^2, of t^2
// and of s^2; then for teacher and student, where wanted (else empty), the gradients of the first sum with respect to a
// and b as summands (not through the norm), and for each row of a the sum of b over the edges that arrive at it.
Tensors compare_edges(const at::Tensor& teacher_a, const at::Tensor& teacher_b, const at::Tensor& teacher_shift,
                      const at::Tensor& student_a, const at::Tensor& student_b, const at::Tensor& student_shift,
                      const at::Tensor& weight, const at::Tensor& start, const at::Tensor& neighbour,
                      const at::Tensor& arriving, const at::Tensor& centre, bool of_teacher, bool of_student) {
    const Adjacency graph(start, neighbour), transposed(arriving, centre);
    const Network teacher(teacher_a, teacher_b, teacher_shift), student(student_a, student_b, student_shift);
    check(weight, at::kFloat, "weight");
    TORCH_CHECK(teacher.width == student.width && weight.numel() == graph.rows, "channels or weights do not fit");
    for (const auto* a : {&teacher_a, &student_a}) TORCH_CHECK(a->size(0) == transposed.rows, "rows do not fit");
    for (const auto* b : {&teacher_b, &student_b}) TORCH_CHECK(b->size(0) == graph.rows, "centres do not fit");
    const float* weights = weight.const_data_ptr<float>();
    const int64_t width = teacher.width;
    const Gradient to_teacher(of_teacher, transposed.rows, graph.rows, width, teacher_a.options());
    const Gradient to_student(of_student, transposed.rows, graph.rows, width, student_a.options());
    std::vector<double> sums;
    with_flags(of_teacher, of_student, [&](auto t, auto s) {
        sums = sum_rows(graph.rows, 3, [&](int64_t i, double* parts) {
            for_each_panel(width, [&](int64_t first, int64_t vectors) {
                with_vectors(vectors, [&](auto v) {
                    compare_centre<v(), t(), s()>(graph, i, teacher, student, weights[i], first, to_teacher.to_b,
                                                  to_student.to_b, parts);
                });
            });
        });
        if constexpr (t() || s())
            for_each_task((transposed.rows + SEGMENT - 1) / SEGMENT, [&](int64_t segment) {
                const int64_t last = std::min(transposed.rows, (segment + 1) * SEGMENT);
                for (int64_t j = segment * SEGMENT; j < last; ++j)
                    for_each_panel(width, [&](int64_t first, int64_t vectors) {
                        with_vectors(vectors, [&](auto v) {
                            compare_neighbour<v(), t(), s()>(transposed, j, teacher, student, weights, first,
                                                             to_teacher, to_student);
                        });
                    });
            });
    });
    return {to_tensor(sums), to_teacher.a, to_teacher.b, to_teacher.sum_b,
            to_student.a,    to_student.b, to_student.sum_b};
}

// float64 (2, width): sum over rows of the gradient of b, which is the sum over edges; and the sum over edges of
// gradient times (a[j] + b[i]), from the sums over each row's edges.
at::Tensor gradient_sums(const at::Tensor& a, const at::Tensor& b, const at::Tensor& of_a, const at::Tensor& of_b) {
    for (const auto* tensor : {&a, &b, &of_a, &of_b}) check(*tensor, at::kFloat, "rows and gradients");
    TORCH_CHECK(a.sizes() == of_a.sizes() && b.sizes() == of_b.sizes() && a.size(1) == b.size(1),
                "gradients do not fit the rows");
    const int64_t width = a.size(1);
    const auto products = [&](const at::Tensor& x, const at::Tensor& of_x) {
        const float *value = x.const_data_ptr<float>(), *gradient = of_x.const_data_ptr<float>();
        return sum_rows(x.size(0), 2 * width, [&](int64_t row, double* sums) {
            for (int64_t c = 0; c < width; ++c) {
                const double g = gradient[row * width + c];
                sums[c] += g;
                sums[width + c] += g * value[row * width + c];
            }
        });
    };
    const std::vector<double> from_a = products(a, of_a);
    std::vector<double> sums = products(b, of_b);
    for (int64_t c = width; c < 2 * width; ++c) sums[c] += from_a[c];
    return to_tensor(sums).view({2, width});
}

}  // namespace
}  // namespace mink_pd

TORCH_LIBRARY_FRAGMENT(mink_pd, library) {
    library.def("transpose_edges(Tensor neighbour, Tensor degree, int rows) -> Tensor[]", &mink_pd::transpose_edges);
    library.def("edge_moments(Tensor a, Tensor b, Tensor start, Tensor neighbour, Tensor arriving) -> Tensor[]",
                &mink_pd::edge_moments);
    library.def("compare_edges(Tensor teacher_a, Tensor teacher_b, Tensor teacher_shift, Tensor student_a, "
                "Tensor student_b, Tensor student_shift, Tensor weight, Tensor start, Tensor neighbour, "
                "Tensor arriving, Tensor centre, bool of_teacher, bool of_student) -> Tensor[]",
                &mink_pd::compare_edges);
    library.def("gradient_sums(Tensor a, Tensor b, Tensor of_a, Tensor of_b) -> Tensor", &mink_pd::gradient_sums);
}
