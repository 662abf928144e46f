// The anchor head: scores of all anchors, boxes of those that pass (mink_pd/models/head.py, anchors.py, decode.py).
#pragma once

#include <cstdint>
#include <vector>

#include "bev_net.h"
#include "buffer.h"
#include "candidates.h"
#include "pillar_points.h"

namespace mink_pd::engine {

class AnchorHead {
 public:
    AnchorHead(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes, int64_t stride);

    int32_t groups() const { return int32_t(classes_); }
    bool velocities() const { return velocity_; }

    // Memory of a thread.
    struct Memory {
        Buffer<float> neck, scores, others;
        Buffer<int32_t> slots, rows;
        std::vector<Candidate> candidates;
        bool finite;
    };
    // Sites of the backbone's coarsest stage that a task takes.
    int64_t sites_at_once() const { return sites_; }
    // The neck and the head at the children of some of these sites; boxes of at least `score` to memory.candidates.
    void run(const BevNet& bev, const BevState& state, int64_t first, int64_t count, float score, Memory& memory) const;

 private:
    struct Anchor {
        float z, length, width, height, yaw, diagonal;
    };
    struct Place {
        float x, y;
        int64_t order;  // of the site
    };

    Place place_of(const SiteGrid& sites, int64_t site, int64_t child, int64_t edge) const;
    bool pick_rows(int64_t rows, float logit, Memory& memory, int64_t& picked) const;
    void decode(const float* scores, const float* others, const Place& place, float score, Memory& memory) const;

    std::vector<Anchor> anchors_;
    int64_t classes_, stride_, sites_;
    float direction_offset_;
    bool velocity_, at_ends_;
    float lower_[2], cell_[2], step_[2];  // of the range [m]; edges of a cell of the input; between places at its ends
    Layer scores_, others_;               // others: boxes, directions, velocities
};

}  // namespace mink_pd::engine
