// Points sorted into the cells of a grid.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "buffer.h"
#include "core/pool.h"
#include "json.h"
#include "site_grid.h"

namespace mink_pd::engine {

struct Cloud {
    const float* values;
    int64_t count, stride;  // [floats]
};

// Which numbers of a point count, and the grid of cells in the range.
struct PointPlan {
    std::vector<std::string> columns;                 // of a point
    std::vector<int64_t> seen;                        // of these, what the network sees: x, y, z first
    float lower[3], size[3], shape[3];                // of the grid [m], and cells along each axis
    std::optional<std::array<float, 6>> own_vehicle;  // x, y, z from, x, y, z to [m]
    bool drop_origin = true;                          // whether a point at the origin is none
    int64_t most = 0;                                 // points of a cell that count, the first ones; 0: all

    static PointPlan read(const Json& description);
    int64_t cells(int axis) const { return int64_t(shape[axis]); }
    // Whether a point is one: finite, not at the origin and not on the own vehicle.
    bool counts(const float* point) const;
    // Its cell along each axis; false outside. True division in float32, as published detectors compute it.
    bool locate(const float* point, int64_t* cell) const;
};

// The points of each pillar, one pillar after the other, in the order of the cloud.
class PillarPoints {
 public:
    // `whole`: the grid is made up to a multiple of so many cells.
    void sort(Pool& pool, const PointPlan& plan, const Cloud& cloud, int64_t whole);

    const SiteGrid& grid() const { return grid_; }
    int64_t pillars() const { return grid_.rows(); }
    // (count(pillar), seen columns)
    const float* points(int64_t pillar) const { return sorted_.data() + start_[pillar] * width_; }
    int64_t count(int64_t pillar) const { return start_[pillar + 1] - start_[pillar]; }

 private:
    // The cell of each point, and of points that do not count OUTSIDE.
    void locate(Pool& pool, const PointPlan& plan, const Cloud& cloud);

    SiteGrid grid_;
    int64_t width_ = 0;
    Buffer<int32_t> cell_, start_, next_;
    Buffer<float> sorted_;
};

}  // namespace mink_pd::engine
