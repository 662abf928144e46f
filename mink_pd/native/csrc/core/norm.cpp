// Sums are formed in float32 over SEGMENT rows, and over the segments in float64: neither depends on the threads.
#include "norm.h"

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t SEGMENT = 256;  // rows

inline float load_as(const float* from, float) { return *from; }
inline Vector load_as(const float* from, Vector) { return load(from); }
inline void store_as(float* to, float value) { *to = value; }
inline void store_as(float* to, Vector value) { store(to, value); }
template <bool STREAM>
void put_as(float* to, float value) {
    *to = value;
}
template <bool STREAM>
void put_as(float* to, Vector value) {
    put<STREAM>(to, value);
}

// Calls use(T(), V, first channel) for strips of V vectors, then for each channel that fills no vector.
template <typename Use>
void for_each_strip(int64_t channels, Use&& use) {
    const int64_t whole = channels / LANES * LANES;
    for_each_panel(whole, [&](int64_t first, int64_t vectors) {
        with_vectors(vectors, [&](auto v) { use(Vector(), v, first); });
    });
    for (int64_t c = whole; c < channels; ++c) use(float(), std::integral_constant<int, 1>(), c);
}

template <typename T>
constexpr int WIDTH = int(sizeof(T) / sizeof(float));

// Mean of some rows, what rounding the mean left of it, and the sum of squares about it; (channels,) each.
struct Moments {
    float *mean, *rest, *squares;
};

template <typename T, int V>
void segment_moments(const float* x, int64_t rows, int64_t stride, Moments to) {
    T sum[V] = {}, mean[V], rest[V] = {}, squares[V] = {};
    for (int64_t r = 0; r < rows; ++r) UNROLL
        for (int v = 0; v < V; ++v) sum[v] += load_as(x + r * stride + v * WIDTH<T>, T());
    UNROLL for (int v = 0; v < V; ++v)
        mean[v] = sum[v] / float(rows);
    for (int64_t r = 0; r < rows; ++r) UNROLL
        for (int v = 0; v < V; ++v) {
            const T off = load_as(x + r * stride + v * WIDTH<T>, T()) - mean[v];
            rest[v] += off;
            squares[v] += off * off;
        }
    UNROLL for (int v = 0; v < V; ++v) {
        store_as(to.mean + v * WIDTH<T>, mean[v]);
        store_as(to.rest + v * WIDTH<T>, rest[v]);
        store_as(to.squares + v * WIDTH<T>, squares[v]);
    }
}

// The gradient before the ReLU: where its result was not positive there is none; NaN passes.
template <typename T>
T behind_relu(T x, T gradient, T scale, T shift) {
    const T value = x * scale + shift;
    return value <= 0.f ? T{} : gradient;
}

// Sums over some rows of the gradient g before the ReLU and of g (x - mean), (channels,) each.
template <typename T, int V, bool RELU>
void segment_sums(const float* gradient, int64_t gradient_stride, const float* x, int64_t stride, int64_t rows,
                  const Norm& norm, int64_t first, float* sums, float* products) {
    T mean[V], scale[V], shift[V], sum[V] = {}, product[V] = {};
    UNROLL for (int v = 0; v < V; ++v) {
        const int64_t c = first + v * WIDTH<T>;
        mean[v] = load_as(norm.mean + c, T());
        scale[v] = load_as(norm.scale + c, T());
        shift[v] = load_as(norm.shift + c, T());
    }
    for (int64_t r = 0; r < rows; ++r) UNROLL
        for (int v = 0; v < V; ++v) {
            const T value = load_as(x + r * stride + v * WIDTH<T>, T());
            T g = load_as(gradient + r * gradient_stride + v * WIDTH<T>, T());
            if constexpr (RELU) g = behind_relu(value, g, scale[v], shift[v]);
            sum[v] += g;
            product[v] += g * (value - mean[v]);
        }
    UNROLL for (int v = 0; v < V; ++v) {
        store_as(sums + v * WIDTH<T>, sum[v]);
        store_as(products + v * WIDTH<T>, product[v]);
    }
}

// y = x * scale + shift of some rows, and with RELU its positive part.
template <typename T, int V, bool RELU, bool STREAM>
void normalise_rows(const float* x, int64_t x_stride, int64_t rows, const Norm& norm, int64_t first, float* y,
                    int64_t y_stride) {
    T scale[V], shift[V];
    UNROLL for (int v = 0; v < V; ++v) {
        scale[v] = load_as(norm.scale + first + v * WIDTH<T>, T());
        shift[v] = load_as(norm.shift + first + v * WIDTH<T>, T());
    }
    for (int64_t r = 0; r < rows; ++r) UNROLL
        for (int v = 0; v < V; ++v) {
            const T value = load_as(x + r * x_stride + v * WIDTH<T>, T()) * scale[v] + shift[v];
            put_as<STREAM>(y + r * y_stride + v * WIDTH<T>, RELU && value < 0.f ? T{} : value);  // NaN stays
        }
}

// By channel: the mean of the gradient g before the ReLU, and what (x - mean) is multiplied with.
struct Slopes {
    const float *constant, *slope;
};

// scale * (g - constant - (x - mean) * slope) of some rows.
template <typename T, int V, bool RELU, bool STREAM>
void gradient_rows(const float* gradient, int64_t gradient_stride, const float* x, int64_t stride, int64_t rows,
                   const Norm& norm, const Slopes& slopes, int64_t first, float* to, int64_t to_stride) {
    T mean[V], scale[V], shift[V], constant[V], slope[V];
    UNROLL for (int v = 0; v < V; ++v) {
        const int64_t c = first + v * WIDTH<T>;
        mean[v] = load_as(norm.mean + c, T());
        scale[v] = load_as(norm.scale + c, T());
        shift[v] = load_as(norm.shift + c, T());
        constant[v] = load_as(slopes.constant + c, T());
        slope[v] = load_as(slopes.slope + c, T());
    }
    for (int64_t r = 0; r < rows; ++r) UNROLL
        for (int v = 0; v < V; ++v) {
            const T value = load_as(x + r * stride + v * WIDTH<T>, T());
            T g = load_as(gradient + r * gradient_stride + v * WIDTH<T>, T());
            if constexpr (RELU) g = behind_relu(value, g, scale[v], shift[v]);
            put_as<STREAM>(to + r * to_stride + v * WIDTH<T>,
                           scale[v] * (g - constant[v] - (value - mean[v]) * slope[v]));
        }
}

// Calls use(std::bool_constant, ...), one for each flag.
template <typename Use>
void with_flags(Use&& use, bool flag) {
    flag ? use(std::true_type()) : use(std::false_type());
}
template <typename Use>
void with_flags(Use&& use, bool flag, bool other) {
    with_flags([&](auto second) { with_flags([&](auto first) { use(first, second); }, flag); }, other);
}

int64_t segments_of(int64_t rows) { return (rows + SEGMENT - 1) / SEGMENT; }
int64_t rows_of(int64_t rows, int64_t segment) { return std::min(SEGMENT, rows - segment * SEGMENT); }

template <typename Body>
void for_each_segment(Pool& pool, int64_t rows, Body&& body) {
    split_tasks(pool, segments_of(rows), [&](int64_t first, int64_t last) {
        for (int64_t segment = first; segment < last; ++segment) body(segment);
    });
}

}  // namespace

void moments(Pool& pool, const Matrix& x, double* mean, double* variance) {
    require(x.rows >= 1, "rows that are normalised must be one or more");
    const int64_t channels = x.channels, segments = segments_of(x.rows);
    std::vector<float> parts(3 * segments * channels);
    const auto part = [&](int64_t segment) {
        float* at = parts.data() + 3 * segment * channels;
        return Moments{at, at + channels, at + 2 * channels};
    };
    for_each_segment(pool, x.rows, [&](int64_t segment) {
        const float* rows = x.values + segment * SEGMENT * x.stride;
        const auto [means, rests, squares] = part(segment);
        for_each_strip(channels, [&](auto type, auto v, int64_t c) {
            segment_moments<decltype(type), v()>(rows + c, rows_of(x.rows, segment), x.stride,
                                                 {means + c, rests + c, squares + c});
        });
    });
    std::fill(mean, mean + channels, 0.), std::fill(variance, variance + channels, 0.);
    for (int64_t segment = 0; segment < segments; ++segment) {
        const auto [means, rests, squares] = part(segment);
        for (int64_t c = 0; c < channels; ++c) mean[c] += double(means[c]) * rows_of(x.rows, segment) + rests[c];
    }
    for (int64_t c = 0; c < channels; ++c) mean[c] /= double(x.rows);
    for (int64_t segment = 0; segment < segments; ++segment) {
        const auto [means, rests, squares] = part(segment);
        for (int64_t c = 0; c < channels; ++c) {
            const double off = means[c] - mean[c];
            variance[c] += squares[c] + off * (2. * rests[c] + off * double(rows_of(x.rows, segment)));
        }
    }
    for (int64_t c = 0; c < channels; ++c) variance[c] = std::max(0., variance[c] / double(x.rows));
}

void normalise(Pool& pool, const Matrix& x, const Norm& norm, MutableMatrix y) {
    const bool streams = worth_streaming(y.values, y.stride, x.rows, x.channels);
    for_each_segment(pool, x.rows, [&](int64_t segment) {
        const int64_t row = segment * SEGMENT, rows = rows_of(x.rows, segment);
        const auto write = [&](auto relu, auto stream) {
            for_each_strip(x.channels, [&](auto type, auto v, int64_t c) {
                normalise_rows<decltype(type), v(), relu(), stream()>(x.values + row * x.stride + c, x.stride, rows,
                                                                      norm, c, y.values + row * y.stride + c, y.stride);
            });
            fence();
        };
        with_flags(write, norm.relu, streams);
    });
}

void normalise_backward(Pool& pool, const Matrix& gradient, const Matrix& x, const Norm& norm, float* of_x,
                        float* of_weight, float* of_bias) {
    const int64_t channels = x.channels, segments = segments_of(x.rows);
    std::vector<float> parts(2 * segments * channels);
    for_each_segment(pool, x.rows, [&](int64_t segment) {
        const int64_t first = segment * SEGMENT, rows = rows_of(x.rows, segment);
        float *sums = parts.data() + 2 * segment * channels, *products = sums + channels;
        const auto add = [&](auto relu) {
            for_each_strip(channels, [&](auto type, auto v, int64_t c) {
                segment_sums<decltype(type), v(), relu()>(gradient.values + first * gradient.stride + c,
                                                          gradient.stride, x.values + first * x.stride + c, x.stride,
                                                          rows, norm, c, sums + c, products + c);
            });
        };
        with_flags(add, norm.relu);
    });
    std::vector<double> sums(2 * channels, 0.);
    for (int64_t segment = 0; segment < segments; ++segment)
        for (int64_t c = 0; c < 2 * channels; ++c) sums[c] += parts[2 * segment * channels + c];
    std::vector<float> constant(channels), slope(channels);
    for (int64_t c = 0; c < channels; ++c) {
        const double inverse = norm.inverse[c], count = double(std::max<int64_t>(1, x.rows));
        of_bias[c] = float(sums[c]);
        of_weight[c] = float(sums[channels + c] * inverse);
        constant[c] = float(sums[c] / count);
        slope[c] = float(sums[channels + c] * inverse * inverse / count);
    }
    const Slopes slopes{constant.data(), slope.data()};
    const bool streams = worth_streaming(of_x, channels, x.rows, channels);
    for_each_segment(pool, x.rows, [&](int64_t segment) {
        const int64_t row = segment * SEGMENT, rows = rows_of(x.rows, segment);
        const auto write = [&](auto relu, auto stream) {
            for_each_strip(channels, [&](auto type, auto v, int64_t c) {
                gradient_rows<decltype(type), v(), relu(), stream()>(
                    gradient.values + row * gradient.stride + c, gradient.stride, x.values + row * x.stride + c,
                    x.stride, rows, norm, slopes, c, of_x + row * channels + c, channels);
            });
            fence();
        };
        with_flags(write, norm.relu, streams);
    });
}

}  // namespace mink_pd
