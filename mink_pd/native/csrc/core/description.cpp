// Sums are formed in float32 over ROWS_A_SUM rows, and over these in float64: neither depends on the threads.
#include "description.h"

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t POINTS_AT_ONCE = 1024, ROWS_A_SUM = 256;

// Mean x, y and z (groups, 3).
std::vector<float> means_of(const float* points, int64_t columns, const Grouping& pillars) {
    std::vector<float> means(3 * pillars.groups, 0.f);
    for (int64_t p = 0; p < pillars.rows; ++p) {
        const int64_t group = pillars.group[p];
        require(group >= 0 && group < pillars.groups, "a point's pillar is not one of the pillars");
        for (int axis = 0; axis < 3; ++axis) means[3 * group + axis] += points[p * columns + axis];
    }
    for (int64_t m = 0; m < pillars.groups; ++m)
        for (int axis = 0; axis < 3; ++axis) means[3 * m + axis] /= float(pillars.counts[m]);
    return means;
}

// Calls add(rows, count, sums) for each stretch of ROWS_A_SUM rows, each with its own `size` sums; returns their
// totals.
template <typename Add>
std::vector<double> sum_stretches(Pool& pool, const float* x, int64_t rows, int64_t features, int64_t size, Add&& add) {
    const int64_t stretches = (rows + ROWS_A_SUM - 1) / ROWS_A_SUM;
    std::vector<float> parts(stretches * size, 0.f);
    split_tasks(pool, stretches, [&](int64_t first, int64_t last) {
        for (int64_t s = first; s < last; ++s)
            add(x + s * ROWS_A_SUM * features, std::min(ROWS_A_SUM, rows - s * ROWS_A_SUM), parts.data() + s * size);
    });
    std::vector<double> totals(size, 0.);
    for (int64_t s = 0; s < stretches; ++s)
        for (int64_t i = 0; i < size; ++i) totals[i] += parts[s * size + i];
    return totals;
}

}  // namespace

void describe_points(Pool& pool, const float* points, int64_t columns, const Grouping& pillars, const float* centres,
                     int64_t axes, float* result) {
    require(columns >= 3 && axes >= 0 && axes <= 3, "points must have x, y and z, and centres at most these");
    const std::vector<float> means = means_of(points, columns, pillars);
    const int64_t features = described(columns, axes);
    for_each_task(pool, (pillars.rows + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE, [&](int64_t task) {
        for (int64_t p = task * POINTS_AT_ONCE; p < std::min(pillars.rows, (task + 1) * POINTS_AT_ONCE); ++p) {
            const float *point = points + p * columns, *mean = means.data() + 3 * pillars.group[p];
            const float* centre = centres + axes * pillars.group[p];
            float* to = std::copy_n(point, columns, result + p * features);
            for (int axis = 0; axis < 3; ++axis) *to++ = point[axis] - mean[axis];
            for (int64_t axis = 0; axis < axes; ++axis) *to++ = point[axis] - centre[axis];
        }
    });
}

// Squares are taken about the mean rounded to float32: those of uncentred values would cancel.
void covariance(Pool& pool, const float* x, int64_t rows, int64_t features, double* mean, double* covariance) {
    const int64_t width = padded(features);
    const std::vector<double> sums =
        sum_stretches(pool, x, rows, features, features, [&](const float* row, int64_t count, float* sums) {
            for (int64_t r = 0; r < count; ++r, row += features)
                for (int64_t f = 0; f < features; ++f) sums[f] += row[f];
        });
    const double some = double(std::max<int64_t>(1, rows));
    std::vector<float> centre(features);
    for (int64_t f = 0; f < features; ++f) centre[f] = float(sums[f] / some);
    // Of each stretch: sums of what is centred, then of its products (features, width).
    const std::vector<double> totals = sum_stretches(pool, x, rows, features, width + features * width,
                                                     [&](const float* row, int64_t count, float* sums) {
                                                         std::vector<float> centred(width, 0.f);
                                                         for (int64_t r = 0; r < count; ++r, row += features) {
                                                             for (int64_t f = 0; f < features; ++f)
                                                                 centred[f] = row[f] - centre[f];
                                                             for (int64_t v = 0; v < width; v += LANES) {
                                                                 const Vector some = load(centred.data() + v);
                                                                 store(sums + v, load(sums + v) + some);
                                                                 for (int64_t f = 0; f < features; ++f) {
                                                                     float* to = sums + (1 + f) * width + v;
                                                                     store(to, load(to) + centred[f] * some);
                                                                 }
                                                             }
                                                         }
                                                     });
    for (int64_t f = 0; f < features; ++f) {
        mean[f] = centre[f] + totals[f] / some;
        for (int64_t g = 0; g < features; ++g)
            covariance[f * features + g] = totals[(1 + f) * width + g] / some - totals[f] / some * (totals[g] / some);
    }
}

}  // namespace mink_pd
