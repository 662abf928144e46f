#include "detector.h"

#include <algorithm>

#include "core/error.h"

namespace mink_pd::engine {
namespace {

std::vector<std::string> read_classes(const Json& description) {
    std::vector<std::string> classes;
    for (const Json& name : description["classes"].list()) classes.push_back(name.text());
    require(!classes.empty() && classes.size() <= 1000, "its description has no classes");
    return classes;
}

}  // namespace

Detector::Detector(const ModelFile& file, int64_t threads)
    : pool_(threads),
      points_(PointPlan::read(file.description()["points"])),
      classes_(read_classes(file.description())),
      encoder_(make_encoder(file, points_)),
      bev_(file, encoder_->out()),
      head_(make_head(file, bev_, points_, int64_t(classes_.size()), encoder_->stride() * bev_.stride())),
      suppression_(SuppressionPlan::read(file.description()["suppression"])) {}

int64_t Detector::detect(const Cloud& cloud, minkpd_box* boxes, int64_t capacity) {
    std::unique_ptr<Workspace> work = take_workspace();
    run(cloud, *work);  // where it throws, its memory goes with it
    const int64_t found = std::min<int64_t>(capacity, int64_t(work->chosen.kept.size()));
    for (int64_t i = 0; i < found; ++i) boxes[i] = work->chosen.kept[i].box;
    const std::lock_guard lock(idle_mutex_);
    idle_.push_back(std::move(work));
    return found;
}

std::unique_ptr<Detector::Workspace> Detector::take_workspace() {
    {
        const std::lock_guard lock(idle_mutex_);
        if (!idle_.empty()) {
            std::unique_ptr<Workspace> last = std::move(idle_.back());
            idle_.pop_back();
            return last;
        }
    }
    auto fresh = std::make_unique<Workspace>();
    fresh->encoder = encoder_->make_state();
    fresh->head = head_->make_state(pool_.threads());
    return fresh;
}

void Detector::run(const Cloud& cloud, Workspace& work) {
    work.chosen.candidates.clear(), work.chosen.kept.clear();
    const auto [sites, features] = encoder_->run(pool_, cloud, bev_.whole(), *work.encoder);
    if (sites->rows() == 0) return;
    bev_.run(pool_, *sites, features, work.bev);
    head_->run(pool_, bev_, work.bev, suppression_.score, *work.head, work.chosen.candidates);
    choose(pool_, suppression_, head_->groups(), work.chosen);
}

}  // namespace mink_pd::engine
