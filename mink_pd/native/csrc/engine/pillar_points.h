// Points sorted into the cells of a grid.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "buffer.h"
#include "core/blocks.h"
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
    float full_scale = 1;                             // of intensities in files; 0: the sensor measures none

    static PointPlan read(const Json& description);
    int64_t cells(int axis) const { return int64_t(shape[axis]); }
    // Calls use(point's number, cell along each axis) for those of the points first .. last - 1 that count: they are
    // finite, in the grid, not at the origin and not on the own vehicle.
    template <typename Use>
    void locate(const Cloud& cloud, int64_t first, int64_t last, Use&& use) const {
        for (; first < last; first += LANES) {
            const int64_t count = std::min<int64_t>(LANES, last - first);
            const Places places = locate_some(cloud.values + first * cloud.stride, cloud.stride, count);
            for (int64_t i = 0; i < count; ++i)
                if (places.counts[i]) use(first + i, places.cell[0][i], places.cell[1][i], places.cell[2][i]);
        }
    }

 private:
    struct Places {
        alignas(64) int32_t counts[LANES], cell[3][LANES];  // cells of points that do not count are 0
    };
    // Of LANES points at most.
    Places locate_some(const float* points, int64_t stride, int64_t count) const;
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
    // Some of the points, which follow each other in the cloud.
    struct Part {
        int64_t first, last;
        Buffer<uint64_t> words;  // of the grid, with the cells of the part's points
        Buffer<int32_t> next;    // of each pillar: points of the part, and then where the next of them goes
    };

    void divide(int64_t threads, const Cloud& cloud);
    void locate(const PointPlan& plan, const Cloud& cloud, Part& part);
    void count(Part& part);
    void add_up(int64_t most);
    void copy(const PointPlan& plan, const Cloud& cloud, Part& part);

    SiteGrid grid_;
    int64_t width_ = 0;
    std::vector<Part> parts_;  // of the cloud, in their order
    int64_t part_count_ = 0;
    Buffer<int32_t> cell_,
        start_;  // of each point its cell, then its pillar, or OUTSIDE; of each pillar its first point
    Buffer<float> sorted_;
};

}  // namespace mink_pd::engine
