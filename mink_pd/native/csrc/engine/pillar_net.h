// The pillar feature net: points of each pillar -> one feature (mink_pd/models/pillars.py).
#pragma once

#include <cstdint>

#include "core/memory.h"
#include "core/pool.h"
#include "model_file.h"
#include "pillar_points.h"

namespace mink_pd::engine {

class PillarNet {
 public:
    PillarNet(const ModelFile& file, const PointPlan& points);

    int64_t out() const { return out_; }
    int64_t width() const { return width_; }
    // Features (pillars, width) to y, 0 behind the channels.
    void run(Pool& pool, const PillarPoints& points, float* y) const;

 private:
    // What follows from the pillar alone: cell centre and mean of the points.
    void constant_part(const float* points, int64_t count, const float* centre, float* constant) const;
    void feature(const float* points, int64_t count, const float* centre, float* y) const;

    PointPlan points_;
    int64_t seen_, out_, width_;
    float height_;       // z of the pillars' centre [m]
    int64_t slots_ = 0;  // points of a pillar that hold no zeros which count; 0: no zeros count
    // Rows of `width`: of each number of a point, of the centre's x, y, z, of the mean's; and the bias.
    Scratch<float> by_point_{0}, by_centre_{0}, by_mean_{0}, bias_{0};
};

}  // namespace mink_pd::engine
