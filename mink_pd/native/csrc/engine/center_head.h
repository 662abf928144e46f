// The centre head: heatmaps at all sites of the neck, boxes at those that pass (mink_pd/models/center_head.py,
// center_decode.py).
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "head.h"

namespace mink_pd::engine {

class CenterHead final : public Head {
 public:
    CenterHead(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes, int64_t stride);

    int32_t groups() const override { return int32_t(tasks_.size()); }
    bool velocities() const override { return velocity_; }
    std::unique_ptr<Head::State> make_state(int64_t threads) const override;
    void run(Pool& pool, const BevNet& bev, const BevState& stages, float score, Head::State& state,
             std::vector<Candidate>& candidates) const override;

 private:
    struct Task {
        std::vector<int32_t> labels;
        Layer heat_hidden, heat;  // heat: a logit for each class
        Layer box_hidden, box;    // of all other branches side by side; box: their outputs
    };
    struct State;

    Source make_neck(Pool& pool, const BevNet& bev, const BevState& stages, State& state) const;
    void run_task(Pool& pool, int32_t number, Source shared, float score, State& state,
                  std::vector<Candidate>& candidates) const;
    void pick_sites(const Task& task, float score, State& state) const;
    Candidate decode(const float* box, const SiteGrid& sites, int64_t row) const;

    CellPlan cells_;
    bool velocity_, iou_;
    float rectifier_;
    Layer shared_;
    bool shared_floats_ = false;  // whether its result is read as floats
    std::vector<Task> tasks_;
};

}  // namespace mink_pd::engine
