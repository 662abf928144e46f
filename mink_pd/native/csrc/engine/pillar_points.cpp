#include "pillar_points.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t MOST_CELLS = 20000;  // along an axis
constexpr int64_t POINTS_AT_ONCE = 2048;
constexpr int32_t OUTSIDE = -1;

}  // namespace

PointPlan PointPlan::read(const Json& description) {
    PointPlan plan;
    for (const Json& column : description["columns"].list()) plan.columns.push_back(column.text());
    require(plan.columns.size() >= 3 && plan.columns.size() <= 16, "its description has an odd number of columns");
    plan.seen = description["seen"].integers(0, int64_t(plan.columns.size()) - 1);
    require(plan.seen.size() >= 3 && plan.seen[0] == 0 && plan.seen[1] == 1 && plan.seen[2] == 2,
            "its description has points without coordinates");
    const auto lower = description["lower"].numbers(3), size = description["size"].numbers(3);
    const auto shape = description["cells"].integers(1, MOST_CELLS);
    require(shape.size() == 3, "its description has a grid that is none");
    for (int axis = 0; axis < 3; ++axis) {
        plan.lower[axis] = float(lower[axis]), plan.size[axis] = float(size[axis]),
        plan.shape[axis] = float(shape[axis]);
        require(plan.size[axis] > 0, "its description has cells without a size");
    }
    if (!description["own_vehicle"].is_null()) {
        const auto box = description["own_vehicle"].numbers(6);
        plan.own_vehicle.emplace();
        std::transform(box.begin(), box.end(), plan.own_vehicle->begin(), [](double x) { return float(x); });
    }
    plan.drop_origin = description["drop_origin"].boolean();
    if (!description["most"].is_null()) plan.most = description["most"].integer(1, 1 << 30);
    return plan;
}

bool PointPlan::counts(const float* point) const {
    float sum = 0;  // of products with 0, which are NaN where a value is not finite
    for (size_t c = 0; c < columns.size(); ++c) sum += point[c] * 0;
    if (sum != 0 || (drop_origin && point[0] == 0 && point[1] == 0 && point[2] == 0)) return false;
    if (!own_vehicle) return true;
    bool inside = true;
    for (int axis = 0; axis < 3; ++axis)
        inside &= point[axis] >= (*own_vehicle)[axis] && point[axis] <= (*own_vehicle)[axis + 3];
    return !inside;
}

bool PointPlan::locate(const float* point, int64_t* cell) const {
    for (int axis = 0; axis < 3; ++axis) {
        const float place = (point[axis] - lower[axis]) / size[axis];
        if (!(place >= 0 && place < shape[axis])) return false;
        cell[axis] = int64_t(place);
    }
    return true;
}

void PillarPoints::locate(Pool& pool, const PointPlan& plan, const Cloud& cloud) {
    int32_t* cells = cell_.sized(cloud.count);
    for_each_task(pool, (cloud.count + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE, [&](int64_t task) {
        const int64_t last = std::min(cloud.count, (task + 1) * POINTS_AT_ONCE);
        for (int64_t p = task * POINTS_AT_ONCE; p < last; ++p) {
            const float* point = cloud.values + p * cloud.stride;
            int64_t place[3];
            const bool inside = plan.locate(point, place) && plan.counts(point);
            cells[p] = inside ? int32_t(grid_.cell(place[0], place[1])) : OUTSIDE;
        }
    });
}

void PillarPoints::sort(Pool& pool, const PointPlan& plan, const Cloud& cloud, int64_t whole) {
    const auto made_up = [&](int64_t cells) { return (cells + whole - 1) / whole * whole; };
    grid_.clear(made_up(plan.cells(0)), made_up(plan.cells(1)));
    locate(pool, plan, cloud);
    int32_t* cells = cell_.data();
    for (int64_t p = 0; p < cloud.count; ++p)
        if (cells[p] != OUTSIDE) grid_.set(cells[p]);
    grid_.number();

    width_ = int64_t(plan.seen.size());
    const int64_t pillars = grid_.rows(), most = plan.most > 0 ? plan.most : cloud.count;
    int32_t *start = start_.sized(pillars + 1), *next = next_.sized(pillars);
    std::fill(start, start + pillars + 1, 0);
    for (int64_t p = 0; p < cloud.count; ++p) {
        if (cells[p] == OUTSIDE) continue;
        cells[p] = grid_.rank(cells[p]);
        int32_t& count = start[cells[p] + 1];
        if (count < most)
            ++count;
        else
            cells[p] = OUTSIDE;
    }
    for (int64_t m = 0; m < pillars; ++m) next[m] = start[m], start[m + 1] += start[m];
    float* sorted = sorted_.sized(int64_t(start[pillars]) * width_);
    const auto copy = [&](auto&& copy_point) {
        for (int64_t p = 0; p < cloud.count; ++p)
            if (cells[p] != OUTSIDE)
                copy_point(cloud.values + p * cloud.stride, sorted + int64_t(next[cells[p]]++) * width_);
    };
    constexpr int64_t USUAL[] = {0, 1, 2, 3};  // copied as one vector
    if (std::equal(plan.seen.begin(), plan.seen.end(), std::begin(USUAL), std::end(USUAL)))
        copy([](const float* from, float* to) { std::copy_n(from, 4, to); });
    else
        copy([&](const float* from, float* to) {
            for (int64_t c = 0; c < width_; ++c) to[c] = from[plan.seen[c]];
        });
}

}  // namespace mink_pd::engine
