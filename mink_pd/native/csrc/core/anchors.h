// Which object each anchor is to find, and the focal loss of the anchors' class scores.
#pragma once

#include <cstdint>

#include "pool.h"

namespace mink_pd {

// Boxes x, y, z, l, w, h, yaw (sites, kinds, 7), and the frame of each site (sites,).
struct Anchors {
    const float* values;
    const int64_t* frame;
    int64_t sites, kinds;
};

// Boxes (count, 7), their classes and frames (count,).
struct Objects {
    const float* values;
    const int64_t *label, *frame;
    int64_t count;
};

// By kind of anchor, the IoU from which it is positive and the IoU below which it is background. An object of class c
// concerns kinds 2 c and 2 c + 1, or with `any_class` all kinds.
struct MatchRules {
    const float *matched, *unmatched;
    bool any_class;
};

// The object of each anchor (sites, kinds): its row; -1 background, -2 ignored. An anchor is positive if its overlap
// is at least `matched`, or is the largest overlap of an object; among objects of equal overlap the last one counts.
// Overlaps are the bird's-eye-view IoU of boxes turned to the nearest axis, in float32 and rounded as torch does it.
void match_anchors(Pool& pool, const Anchors& anchors, const Objects& objects, const MatchRules& rules,
                   int64_t* result);

// Logits: a site's (kinds, classes) start every `stride` floats. Labels (sites, kinds): the class, -1 background, below
// that ignored. Share (sites,): the weight of the site.
struct Scores {
    const float* logits;
    int64_t sites, stride, kinds, classes;
    const int64_t* labels;
    const float* share;
};

// The focal loss (Lin et al. 2017, equation 5) of all logits, weighted and summed, and its gradient (sites, kinds,
// classes).
double focal_loss(Pool& pool, const Scores& scores, float alpha, float gamma, float* gradient);

}  // namespace mink_pd
