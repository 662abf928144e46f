// Boxes that pass the score, from all threads, and what is left of them after suppression.
#pragma once

#include <cstdint>
#include <vector>

#include "core/pool.h"
#include "json.h"
#include "minkpd.h"
#include "suppression.h"

namespace mink_pd::engine {

// order: where the torch path would have it, which decides among equal scores; group: of boxes that suppress each
// other.
struct Candidate {
    minkpd_box box;
    int32_t group;
    int64_t order;
};

struct SuppressionPlan {
    float score;
    double iou;
    std::vector<double> radius;  // of each group, the last one for those beyond; empty: by overlap
    int64_t before, after;       // most candidates of a group; most boxes of a cloud
    bool group_limit;            // `after` for each group as well

    static SuppressionPlan read(const Json& description);
};

// Where a candidate stands among others: by score, then by order. index: of the candidate.
struct Rank {
    float score;
    int32_t index;
    int64_t order;

    bool operator<(const Rank& other) const { return score != other.score ? score > other.score : order < other.order; }
};

// Memory of choose(), kept from one cloud to the next.
struct Chosen {
    // The candidates of a group, best first, and what is kept of them.
    struct Group {
        std::vector<Rank> ranks;
        std::vector<int32_t> kept;
        Suppression by_overlap;
        CircleSuppression by_distance;
    };
    std::vector<Candidate> candidates, kept;
    std::vector<Group> groups;
    std::vector<Rank> ranks;  // of what all groups keep
};

// From chosen.candidates, of `groups` groups, the boxes that are left to chosen.kept, best first.
void choose(Pool& pool, const SuppressionPlan& plan, int32_t groups, Chosen& chosen);

// The score of a logit.
float sigmoid(float logit);
// The logit below which no score reaches `score`.
float lowest_logit(float score);

}  // namespace mink_pd::engine
