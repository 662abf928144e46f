// What stands behind the backbone: from its stages to boxes that pass the score.
#pragma once

#include <memory>
#include <vector>

#include "bev_net.h"
#include "candidates.h"
#include "core/pool.h"
#include "not_finite.h"
#include "pillar_points.h"

namespace mink_pd::engine {

// Where the head's cells lie: their edges [m], the range's lower corner, and their stride over the grid.
struct CellPlan {
    float lower[2], size[2];
    int64_t stride;

    CellPlan(const PointPlan& points, int64_t stride)
        : lower{points.lower[0], points.lower[1]}, size{points.size[0], points.size[1]}, stride(stride) {}
    // The centre of a cell, in float32 as the torch path computes it.
    float centre(int axis, int64_t cell) const {
        return lower[axis] + (float(cell * stride) + float(stride) / 2) * size[axis];
    }
};

class Head {
 public:
    // Memory that a cloud needs and the next one finds.
    struct State {
        virtual ~State() = default;
    };

    virtual ~Head() = default;
    virtual int32_t groups() const = 0;  // of boxes that suppress each other
    virtual bool velocities() const = 0;
    virtual std::unique_ptr<State> make_state(int64_t threads) const = 0;
    // Adds the boxes of at least `score`. Throws NotFinite.
    virtual void run(Pool& pool, const BevNet& bev, const BevState& stages, float score, State& state,
                     std::vector<Candidate>& candidates) const = 0;
};

// The head that a file describes, on a neck whose cells have this stride over the grid.
std::unique_ptr<Head> make_head(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes,
                                int64_t stride);

}  // namespace mink_pd::engine
