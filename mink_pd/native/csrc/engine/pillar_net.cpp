// A point is described by what is seen of it, x, y, z among that, by its offset to the mean of its pillar's points and
// by its offset to the pillar's centre. With d, its place relative to the centre c, and the mean relative to it m, the
// linear map of all these is one map of d and what else is seen, plus a part that the whole pillar shares:
//   W (d + c) + W_mean (d - m) + W_centre d = (W + W_mean + W_centre) d + (W c - W_mean m).
// So a point takes 4 products for each channel instead of 10, and sums of small numbers round less.
#include "pillar_net.h"

#include <algorithm>
#include <limits>

#include "core/blocks.h"
#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t PILLARS_AT_ONCE = 128;
constexpr int64_t MOST_SEEN = 16, MOST_CHANNELS = 1024;

// The largest of points (count, seen) times w (seen, width), V vectors of channels; coordinates relative to `centre`.
template <int V>
void largest(const float* points, int64_t count, int64_t seen, const float* centre, const float* w, int64_t width,
             float* result) {
    Vector best[V];
    UNROLL for (int v = 0; v < V; ++v)
        best[v] = Vector{} - std::numeric_limits<float>::infinity();
    for (int64_t p = 0; p < count; ++p, points += seen) {
        Vector sum[V];
        UNROLL for (int v = 0; v < V; ++v)
            sum[v] = Vector{};
        for (int64_t c = 0; c < seen; ++c) {
            const float value = points[c] - centre[c];
            UNROLL for (int v = 0; v < V; ++v)
                sum[v] += value * load(w + c * width + v * LANES);
        }
        UNROLL for (int v = 0; v < V; ++v)
            best[v] = sum[v] <= best[v] ? best[v] : sum[v];  // NaN is larger than all
    }
    UNROLL for (int v = 0; v < V; ++v)
        store(result + v * LANES, best[v]);
}

}  // namespace

PillarNet::PillarNet(const ModelFile& file, const PointPlan& points)
    : points_(points), seen_(int64_t(points.seen.size())) {
    const Json& description = file.description()["encoder"];
    const int64_t axes = description["centre_axes"].integer(2, 3), features = seen_ + 3 + axes;
    const Tensor& weight = file.tensor("encoder.weight", {-1, features});
    require(seen_ <= MOST_SEEN && weight.shape[0] > 0 && weight.shape[0] <= MOST_CHANNELS,
            "has a pillar net of an odd size");
    out_ = weight.shape[0], width_ = padded(out_);
    height_ = float(description["height"].number());
    if (description["empty_slots"].boolean()) slots_ = points.most;
    const float* bias = file.tensor("encoder.bias", {out_}).values;
    by_point_ = Scratch<float>(seen_ * width_), by_centre_ = Scratch<float>(3 * width_);
    by_mean_ = Scratch<float>(3 * width_), bias_ = Scratch<float>(width_);
    const auto fill = [&](Scratch<float>& rows, int64_t row, auto&& value) {
        for (int64_t c = 0; c < width_; ++c)
            rows[row * width_ + c] = c < out_ ? float(value(weight.values + c * features)) : 0.f;
    };
    for (int64_t f = 0; f < seen_; ++f)
        fill(by_point_, f, [&](const float* w) {
            double sum = w[f];
            if (f < 3) sum += double(w[seen_ + f]) + (f < axes ? double(w[seen_ + 3 + f]) : 0.0);
            return sum;
        });
    for (int64_t axis = 0; axis < 3; ++axis) {
        fill(by_centre_, axis, [&](const float* w) { return double(w[axis]); });
        fill(by_mean_, axis, [&](const float* w) { return double(w[seen_ + axis]); });
    }
    for (int64_t c = 0; c < width_; ++c) bias_[c] = c < out_ ? bias[c] : 0.f;
}

void PillarNet::constant_part(const float* points, int64_t count, const float* centre, float* constant) const {
    float mean[3] = {0, 0, 0};
    for (int64_t p = 0; p < count; ++p)
        for (int axis = 0; axis < 3; ++axis) mean[axis] += points[p * seen_ + axis];
    for (int axis = 0; axis < 3; ++axis) mean[axis] = mean[axis] / float(count) - centre[axis];
    for (int64_t v = 0; v < width_; v += LANES) {
        Vector sum = load(bias_.data() + v);
        for (int axis = 0; axis < 3; ++axis)
            sum += centre[axis] * load(by_centre_.data() + axis * width_ + v) -
                   mean[axis] * load(by_mean_.data() + axis * width_ + v);
        store(constant + v, sum);
    }
}

void PillarNet::feature(const float* points, int64_t count, const float* centre, float* y) const {
    alignas(64) float shared[MOST_CHANNELS];
    constant_part(points, count, centre, shared);
    for_each_panel(width_, [&](int64_t first, int64_t vectors) {
        with_vectors(vectors, [&](auto v) {
            largest<v()>(points, count, seen_, centre, by_point_.data() + first, width_, y + first);
        });
    });
    const bool with_empty = slots_ > 0 && count < slots_;
    for (int64_t c = 0; c < width_; c += LANES) {
        Vector value = load(y + c) + load(shared + c);
        if (with_empty) {
            const Vector empty = load(bias_.data() + c);
            value = value < empty ? empty : value;
        }
        store(y + c, value < 0 ? Vector{} : value);
    }
}

void PillarNet::run(Pool& pool, const PillarPoints& points, float* y) const {
    const SiteGrid& grid = points.grid();
    for_each_task(pool, (points.pillars() + PILLARS_AT_ONCE - 1) / PILLARS_AT_ONCE, [&](int64_t task) {
        const int64_t last = std::min(points.pillars(), (task + 1) * PILLARS_AT_ONCE);
        for (int64_t m = task * PILLARS_AT_ONCE; m < last; ++m) {
            const int64_t cell = grid.cells()[m];
            float centre[MOST_SEEN] = {};  // 0 where a number is no coordinate
            centre[0] = points_.lower[0] + (float(grid.x_of(cell)) + 0.5f) * points_.size[0];
            centre[1] = points_.lower[1] + (float(grid.y_of(cell)) + 0.5f) * points_.size[1];
            centre[2] = height_;
            feature(points.points(m), points.count(m), centre, y + m * width_);
        }
    });
}

}  // namespace mink_pd::engine
