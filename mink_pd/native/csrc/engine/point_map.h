// The linear map of a point's description, the first layer of a pillar feature net.
#pragma once

#include <cstdint>
#include <string>

#include "core/memory.h"
#include "model_file.h"
#include "pillar_points.h"
#include "site_grid.h"

namespace mink_pd::engine {

constexpr int64_t MOST_SEEN = 16, MOST_CHANNELS = 1024;

// A point is described by what is seen of it, x, y, z among that, by its offset to the mean of its pillar's points and
// by its offset to the pillar's centre. With d, its place relative to the centre c, and the mean relative to it m, the
// linear map of all these is one map of d and what else is seen, plus a part that the whole pillar shares:
//   W (d + c) + W_mean (d - m) + W_centre d = (W + W_mean + W_centre) d + (W c - W_mean m).
// So a point takes 4 products for each channel instead of 10, and sums of small numbers round less.
struct PointMap {
    int64_t seen, out, width;  // width: padded(out)
    // Rows of `width`: of each number of a point, of the centre's x, y, z, of the mean's; and the bias.
    Scratch<float> by_point{0}, by_centre{0}, by_mean{0}, bias{0};

    // The tensors NAME.weight and NAME.bias.
    PointMap(const ModelFile& file, const std::string& name, const PointPlan& points);

    // x, y, z of the centre of a cell's pillar, then zeros for the other numbers of a point.
    void centre_of(const SiteGrid& grid, int64_t cell, float* centre) const;
    // What follows from the pillar alone, bias included.
    void shared_part(const float* points, int64_t count, const float* centre, float* shared) const;

 private:
    float lower_[2], size_[2], height_;  // of the grid [m]; z of the pillars' centres [m]
};

}  // namespace mink_pd::engine
