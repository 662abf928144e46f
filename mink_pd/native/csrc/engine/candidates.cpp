#include "candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace mink_pd::engine {
namespace {

bool is_better(const Candidate& a, const Candidate& b) {
    return a.box.score != b.box.score ? a.box.score > b.box.score : a.order < b.order;
}

}  // namespace

SuppressionPlan SuppressionPlan::read(const Json& description) {
    SuppressionPlan plan;
    plan.score = float(description["score"].number());
    plan.iou = description["iou"].number();
    if (!description["radius"].is_null()) {
        plan.radius = description["radius"].numbers();
        require(!plan.radius.empty(), "its description has no radius of suppression");
    }
    plan.before = description["before"].integer(1, 1 << 30), plan.after = description["after"].integer(1, 1 << 20);
    plan.group_limit = description["group_limit"].boolean();
    return plan;
}

void choose(const SuppressionPlan& plan, int32_t groups, Chosen& chosen) {
    auto& all = chosen.candidates;
    std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
        return a.group != b.group ? a.group < b.group : is_better(a, b);
    });
    chosen.kept.clear();
    auto first = all.begin();
    for (int32_t group = 0; group < groups; ++group) {
        auto last = first;
        while (last != all.end() && last->group == group) ++last;
        const auto end = first + std::min<int64_t>(plan.before, last - first);
        chosen.by_overlap.clear(), chosen.by_distance.clear();
        int64_t kept = 0;
        for (; first != end && !(plan.group_limit && kept == plan.after); ++first) {
            const minkpd_box& box = first->box;
            const bool keep =
                plan.radius.empty()
                    ? chosen.by_overlap.keep(Rectangle(box.x, box.y, box.length, box.width, box.yaw), plan.iou)
                    : chosen.by_distance.keep(box.x, box.y,
                                              plan.radius[std::min<size_t>(group, plan.radius.size() - 1)]);
            if (!keep) continue;
            chosen.kept.push_back(*first);
            chosen.kept.back().order = int64_t(chosen.kept.size());
            ++kept;
        }
        first = last;
    }
    std::sort(chosen.kept.begin(), chosen.kept.end(), is_better);  // equal scores by group, as kept
    if (int64_t(chosen.kept.size()) > plan.after) chosen.kept.resize(plan.after);
}

float sigmoid(float logit) { return 1 / (1 + std::exp(-logit)); }

float lowest_logit(float score) {
    constexpr double SLACK = 1e-4;  // more than the rounding of scores
    if (score <= 0) return -std::numeric_limits<float>::infinity();
    if (score >= 1) return 10;  // scores round to 1 from about 17 on
    return float(std::log(double(score) / (1 - double(score))) - SLACK);
}

}  // namespace mink_pd::engine
