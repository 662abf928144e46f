// The anchor head: scores of all anchors, boxes of those that pass (mink_pd/models/head.py, anchors.py, decode.py).
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "head.h"

namespace mink_pd::engine {

class AnchorHead final : public Head {
 public:
    AnchorHead(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes, int64_t stride);

    int32_t groups() const override { return int32_t(classes_); }
    bool velocities() const override { return velocity_; }
    std::unique_ptr<Head::State> make_state(int64_t threads) const override;
    void run(Pool& pool, const BevNet& bev, const BevState& stages, float score, Head::State& state,
             std::vector<Candidate>& candidates) const override;

 private:
    struct Anchor {
        float z, length, width, height, yaw, diagonal;
    };
    // Of the neck: its anchors, and where they stand.
    struct Level {
        std::vector<Anchor> anchors;
        CellPlan cells;
        float step[2];  // [m] between places that are spread from end to end of the range
    };
    struct Place {
        float x, y;
        int64_t order;  // of the site
    };

    // Memory of a thread.
    struct Memory {
        Buffer<float> neck, scores, others;
        Buffer<uint8_t> codes;  // of the neck
        Buffer<int32_t> slots, rows;
        std::vector<Candidate> candidates;
        bool finite;
    };
    struct State final : Head::State {
        std::vector<Memory> threads;
    };

    // The neck and the head at the children of some sites of the coarsest stage.
    void run_some(const BevNet& bev, const BevState& stages, int64_t first, int64_t count, float score,
                  Memory& memory) const;
    // The same at some sites of a level of a feature pyramid; `before`: cells of the levels before it.
    void run_level(const BevNet& bev, const BevState& stages, int64_t level, int64_t first, int64_t count,
                   int64_t before, float score, Memory& memory) const;
    // The head at rows of the neck, of which place_of(row) says where they are.
    template <typename PlaceOf>
    void read(Source neck, int64_t rows, const Level& level, float score, Memory& memory, PlaceOf&& place_of) const;
    Place place_of(const Level& level, int64_t x, int64_t y, int64_t order) const;
    bool pick_rows(int64_t rows, float logit, Memory& memory, int64_t& picked) const;
    void decode(const float* scores, const float* others, const std::vector<Anchor>& anchors, const Place& place,
                float score, Memory& memory) const;

    std::vector<Level> levels_;  // finest first
    int64_t classes_, sites_;    // sites of the coarsest stage, or of a level, that a task takes
    float direction_offset_;
    bool velocity_, at_ends_;
    Layer scores_, others_;  // others: boxes, directions, velocities
};

}  // namespace mink_pd::engine
