// A detector from points to boxes. Its weights never change; what a cloud needs is kept for the next one.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bev_net.h"
#include "candidates.h"
#include "core/pool.h"
#include "encoder.h"
#include "head.h"
#include "model_file.h"
#include "pillar_points.h"

namespace mink_pd::engine {

class Detector {
 public:
    // Throws Error with a message that goes on after the file's name.
    Detector(const ModelFile& file, int64_t threads);

    const std::vector<std::string>& columns() const { return points_.columns; }
    float full_scale() const { return points_.full_scale; }
    const std::vector<std::string>& classes() const { return classes_; }
    int64_t most_boxes() const { return suppression_.after; }
    bool velocities() const { return head_->velocities(); }
    void set_score(float score) { suppression_.score = score; }

    // By any number of threads at once; the boxes to `boxes`, at most `capacity`. Returns how many.
    int64_t detect(const Cloud& cloud, minkpd_box* boxes, int64_t capacity);

 private:
    struct Workspace {
        std::unique_ptr<Encoder::State> encoder;
        BevState bev;
        std::unique_ptr<Head::State> head;
        Chosen chosen;
    };

    std::unique_ptr<Workspace> take_workspace();
    void run(const Cloud& cloud, Workspace& work);

    ThreadPool pool_;
    PointPlan points_;
    std::vector<std::string> classes_;
    std::unique_ptr<Encoder> encoder_;
    BevNet bev_;
    std::unique_ptr<Head> head_;
    SuppressionPlan suppression_;
    std::mutex idle_mutex_;
    std::vector<std::unique_ptr<Workspace>> idle_;  // one for each call that has been running at once
};

}  // namespace mink_pd::engine
