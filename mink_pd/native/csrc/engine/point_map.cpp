#include "point_map.h"

#include <algorithm>

#include "core/blocks.h"
#include "core/error.h"

namespace mink_pd::engine {

PointMap::PointMap(const ModelFile& file, const std::string& name, const PointPlan& points)
    : seen(int64_t(points.seen.size())) {
    const Json& description = file.description()["encoder"];
    const int64_t axes = description["centre_axes"].integer(2, 3), features = seen + 3 + axes;
    const Tensor& weight = file.tensor(name + ".weight", {-1, features});
    require(seen <= MOST_SEEN && weight.shape[0] > 0 && weight.shape[0] <= MOST_CHANNELS,
            "has a pillar net of an odd size");
    out = weight.shape[0], width = padded(out);
    height_ = float(description["height"].number());
    std::copy_n(points.lower, 2, lower_), std::copy_n(points.size, 2, size_);
    const float* bias_values = file.tensor(name + ".bias", {out}).values;
    by_point = Scratch<float>(seen * width), by_centre = Scratch<float>(3 * width);
    by_mean = Scratch<float>(3 * width), bias = Scratch<float>(width);
    const auto fill = [&](Scratch<float>& rows, int64_t row, auto&& value) {
        for (int64_t c = 0; c < width; ++c)
            rows[row * width + c] = c < out ? float(value(weight.values + c * features)) : 0.f;
    };
    for (int64_t f = 0; f < seen; ++f)
        fill(by_point, f, [&](const float* w) {
            double sum = w[f];
            if (f < 3) sum += double(w[seen + f]) + (f < axes ? double(w[seen + 3 + f]) : 0.0);
            return sum;
        });
    for (int64_t axis = 0; axis < 3; ++axis) {
        fill(by_centre, axis, [&](const float* w) { return double(w[axis]); });
        fill(by_mean, axis, [&](const float* w) { return double(w[seen + axis]); });
    }
    for (int64_t c = 0; c < width; ++c) bias[c] = c < out ? bias_values[c] : 0.f;
}

void PointMap::centre_of(const SiteGrid& grid, int64_t cell, float* centre) const {
    centre[0] = lower_[0] + (float(grid.x_of(cell)) + 0.5f) * size_[0];
    centre[1] = lower_[1] + (float(grid.y_of(cell)) + 0.5f) * size_[1];
    centre[2] = height_;
    std::fill(centre + 3, centre + seen, 0.f);
}

void PointMap::shared_part(const float* points, int64_t count, const float* centre, float* shared) const {
    float mean[3] = {0, 0, 0};
    for (int64_t p = 0; p < count; ++p)
        for (int axis = 0; axis < 3; ++axis) mean[axis] += points[p * seen + axis];
    for (int axis = 0; axis < 3; ++axis) mean[axis] = mean[axis] / float(count) - centre[axis];
    for (int64_t v = 0; v < width; v += LANES) {
        Vector sum = load(bias.data() + v);
        for (int axis = 0; axis < 3; ++axis)
            sum += centre[axis] * load(by_centre.data() + axis * width + v) -
                   mean[axis] * load(by_mean.data() + axis * width + v);
        store(shared + v, sum);
    }
}

}  // namespace mink_pd::engine
