#include "candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

// Lists the candidates of one group and suppresses all but the best of each place.
void suppress(const SuppressionPlan& plan, int32_t number, const std::vector<Candidate>& candidates,
              Chosen::Group& group) {
    group.ranks.clear(), group.kept.clear(), group.by_overlap.clear(), group.by_distance.clear();
    for (size_t i = 0; i < candidates.size(); ++i)
        if (candidates[i].group == number)
            group.ranks.push_back({candidates[i].box.score, int32_t(i), candidates[i].order});
    std::sort(group.ranks.begin(), group.ranks.end());
    if (int64_t(group.ranks.size()) > plan.before) group.ranks.resize(plan.before);
    for (const Rank& rank : group.ranks) {
        if (plan.group_limit && int64_t(group.kept.size()) == plan.after) break;
        const minkpd_box& box = candidates[rank.index].box;
        const bool keep =
            plan.radius.empty()
                ? group.by_overlap.keep(Rectangle(box.x, box.y, box.length, box.width, box.yaw), plan.iou)
                : group.by_distance.keep(box.x, box.y, plan.radius[std::min<size_t>(number, plan.radius.size() - 1)]);
        if (keep) group.kept.push_back(rank.index);
    }
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

void choose(Pool& pool, const SuppressionPlan& plan, int32_t groups, Chosen& chosen) {
    chosen.groups.resize(groups);
    for_each_task(pool, groups,
                  [&](int64_t group) { suppress(plan, int32_t(group), chosen.candidates, chosen.groups[group]); });
    chosen.ranks.clear(), chosen.kept.clear();
    for (const Chosen::Group& group : chosen.groups)
        for (const int32_t index : group.kept)  // equal scores by group, as kept
            chosen.ranks.push_back({chosen.candidates[index].box.score, index, int64_t(chosen.ranks.size())});
    std::sort(chosen.ranks.begin(), chosen.ranks.end());
    if (int64_t(chosen.ranks.size()) > plan.after) chosen.ranks.resize(plan.after);
    for (const Rank& rank : chosen.ranks) chosen.kept.push_back(chosen.candidates[rank.index]);
}

float sigmoid(float logit) { return 1 / (1 + std::exp(-logit)); }

float lowest_logit(float score) {
    constexpr double SLACK = 1e-4;  // more than the rounding of scores
    if (score <= 0) return -std::numeric_limits<float>::infinity();
    if (score >= 1) return 10;  // scores round to 1 from about 17 on
    return float(std::log(double(score) / (1 - double(score))) - SLACK);
}

}  // namespace mink_pd::engine
