// The pillar feature net of one layer: points of each pillar -> one feature (mink_pd/models/pillars.py).
#pragma once

#include <cstdint>

#include "core/pool.h"
#include "model_file.h"
#include "pillar_points.h"
#include "point_map.h"

namespace mink_pd::engine {

class PillarNet {
 public:
    PillarNet(const ModelFile& file, const PointPlan& points);

    int64_t out() const { return map_.out; }
    int64_t width() const { return map_.width; }
    // Features (pillars, width) to y, 0 behind the channels.
    void run(Pool& pool, const PillarPoints& points, float* y) const;

 private:
    void feature(const float* points, int64_t count, const float* centre, float* y) const;

    PointMap map_;
    int64_t slots_ = 0;  // points of a pillar that hold no zeros which count; 0: no zeros count
};

}  // namespace mink_pd::engine
