#include "pillar_points.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t MOST_CELLS = 20000;  // along an axis
constexpr size_t MOST_COLUMNS = 16;
constexpr int64_t LEAST_POINTS = 1024;  // of a part
constexpr int32_t OUTSIDE = -1;

float scale_of(const Json& intensity) {
    const bool none = intensity.is_text() && intensity.text() == "none";
    const bool by_type = intensity.is_text() && intensity.text() == "by_type";  // of files of floats: 1
    const float scale = none ? 0 : by_type ? 1 : float(intensity.number());
    require(none || (scale > 0 && std::isfinite(scale)), "its description has intensities without a full scale");
    return scale;
}

}  // namespace

PointPlan PointPlan::read(const Json& description) {
    PointPlan plan;
    for (const Json& column : description["columns"].list()) plan.columns.push_back(column.text());
    require(plan.columns.size() >= 3 && plan.columns.size() <= MOST_COLUMNS,
            "its description has an odd number of columns");
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
    plan.full_scale = scale_of(description["intensity"]);
    return plan;
}

PointPlan::Places PointPlan::locate_some(const float* points, int64_t stride, int64_t count) const {
    alignas(64) float values[MOST_COLUMNS][LANES] = {};
    const int64_t width = int64_t(columns.size());
    for (int64_t i = 0; i < count; ++i)
        for (int64_t c = 0; c < width; ++c) values[c][i] = points[i * stride + c];
    Vector sum{};  // of products with 0, which are NaN where a value is not finite
    for (int64_t c = 0; c < width; ++c) sum += load(values[c]) * 0.f;
    auto counts = sum == 0;
    const auto every = [&](auto&& holds) { return holds(0) & holds(1) & holds(2); };
    if (drop_origin) counts &= ~every([&](int axis) { return load(values[axis]) == 0; });
    if (own_vehicle)
        counts &= ~every([&](int axis) {
            const Vector at = load(values[axis]);
            return (at >= (*own_vehicle)[axis]) & (at <= (*own_vehicle)[axis + 3]);
        });
    Vector place[3];
    for (int axis = 0; axis < 3; ++axis) {
        place[axis] = (load(values[axis]) - lower[axis]) / size[axis];  // as published detectors compute it
        counts &= (place[axis] >= 0) & (place[axis] < shape[axis]);
    }
    Places places;
    std::memcpy(places.counts, &counts, sizeof counts);
    for (int axis = 0; axis < 3; ++axis) {
        const auto cell = __builtin_convertvector(counts ? place[axis] : Vector{}, decltype(counts));
        std::memcpy(places.cell[axis], &cell, sizeof cell);
    }
    return places;
}

void PillarPoints::sort(Pool& pool, const PointPlan& plan, const Cloud& cloud, int64_t whole) {
    const auto made_up = [&](int64_t cells) { return (cells + whole - 1) / whole * whole; };
    grid_.clear(made_up(plan.cells(0)), made_up(plan.cells(1)));
    width_ = int64_t(plan.seen.size());
    cell_.sized(cloud.count);
    divide(pool.threads(), cloud);
    for_each_task(pool, part_count_, [&](int64_t part) { locate(plan, cloud, parts_[part]); });
    for (int64_t part = 0; part < part_count_; ++part) grid_.set_all(parts_[part].words.data());
    grid_.number();
    for (int64_t part = 0; part < part_count_; ++part) parts_[part].next.sized(pillars());
    for_each_task(pool, part_count_, [&](int64_t part) { count(parts_[part]); });
    add_up(plan.most > 0 ? plan.most : cloud.count);
    for_each_task(pool, part_count_, [&](int64_t part) { copy(plan, cloud, parts_[part]); });
}

// More parts than threads: one that is woken late takes fewer.
void PillarPoints::divide(int64_t threads, const Cloud& cloud) {
    part_count_ = threads == 1 ? 1 : std::clamp<int64_t>(cloud.count / LEAST_POINTS, 1, 2 * threads);
    if (int64_t(parts_.size()) < part_count_) parts_.resize(part_count_);
    for (int64_t part = 0; part < part_count_; ++part) {
        parts_[part].first = cloud.count * part / part_count_;
        parts_[part].last = cloud.count * (part + 1) / part_count_;
        parts_[part].words.sized(grid_.words());
    }
}

// The cells of a part's points.
void PillarPoints::locate(const PointPlan& plan, const Cloud& cloud, Part& part) {
    int32_t* cells = cell_.data();
    uint64_t* words = part.words.data();
    std::fill_n(words, grid_.words(), 0);
    std::fill(cells + part.first, cells + part.last, OUTSIDE);
    plan.locate(cloud, part.first, part.last, [&](int64_t point, int64_t x, int64_t y, int64_t) {
        const int64_t cell = grid_.cell(x, y);
        cells[point] = int32_t(cell);
        words[cell >> 6] |= uint64_t(1) << (cell & 63);
    });
}

// The pillars of a part's points, and how many of them each has.
void PillarPoints::count(Part& part) {
    int32_t *cells = cell_.data(), *counts = part.next.data();
    std::fill_n(counts, pillars(), 0);
    for (int64_t p = part.first; p < part.last; ++p) {
        if (cells[p] == OUTSIDE) continue;
        cells[p] = grid_.rank(cells[p]);
        ++counts[cells[p]];
    }
}

// Where the points of each pillar begin, at most `most` of them, and those of each part.
void PillarPoints::add_up(int64_t most) {
    int32_t* start = start_.sized(pillars() + 1);
    start[0] = 0;
    for (int64_t m = 0; m < pillars(); ++m) {
        int32_t end = start[m];
        for (int64_t part = 0; part < part_count_; ++part) {
            int32_t& next = parts_[part].next[m];
            end += std::exchange(next, end);
        }
        start[m + 1] = int32_t(std::min<int64_t>(end, start[m] + most));
    }
    sorted_.sized(int64_t(start[pillars()]) * width_);
}

void PillarPoints::copy(const PointPlan& plan, const Cloud& cloud, Part& part) {
    const int32_t *pillar = cell_.data(), *start = start_.data();
    int32_t* next = part.next.data();
    const auto each = [&](auto&& copy_point) {
        for (int64_t p = part.first; p < part.last; ++p) {
            if (pillar[p] == OUTSIDE) continue;
            const int64_t row = next[pillar[p]]++;
            if (row < start[pillar[p] + 1]) copy_point(cloud.values + p * cloud.stride, sorted_.data() + row * width_);
        }
    };
    constexpr int64_t USUAL[] = {0, 1, 2, 3};  // copied as one vector
    if (std::equal(plan.seen.begin(), plan.seen.end(), std::begin(USUAL), std::end(USUAL)))
        each([](const float* from, float* to) { std::copy_n(from, 4, to); });
    else
        each([&](const float* from, float* to) {
            for (int64_t c = 0; c < width_; ++c) to[c] = from[plan.seen[c]];
        });
}

}  // namespace mink_pd::engine
