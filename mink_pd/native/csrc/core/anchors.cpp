#include "anchors.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t SITES_AT_ONCE = 1024;

// torch rounds a product before it adds; a fused multiply-add would not, and equal overlaps would come out unequal.
float product(float a, float b) {
    volatile float rounded = a * b;
    return rounded;
}

// A box turned to the nearest axis, seen from above.
struct Rectangle {
    float low[2], high[2], area;

    explicit Rectangle(const float* box) {
        constexpr float TURN = float(M_PI), QUARTER = float(M_PI / 4), HALF = float(M_PI / 2);
        float angle = std::fmod(box[6] + QUARTER, TURN);
        if (angle < 0) angle += TURN;
        const bool turned = angle >= HALF;
        const float size[] = {box[turned ? 4 : 3], box[turned ? 3 : 4]};
        for (int axis = 0; axis < 2; ++axis) {
            low[axis] = box[axis] - size[axis] / 2;
            high[axis] = box[axis] + size[axis] / 2;
        }
        area = product(size[0], size[1]);
    }
};

float overlap_of(const Rectangle& a, const Rectangle& b) {
    const float x = std::min(a.high[0], b.high[0]) - std::max(a.low[0], b.low[0]);
    const float y = std::min(a.high[1], b.high[1]) - std::max(a.low[1], b.low[1]);
    if (!(x > 0 && y > 0)) return 0;
    const float shared = product(x, y);
    return shared / (a.area + b.area - shared);
}

struct Object {
    Rectangle rectangle;
    float place[2], reach;  // no anchor overlaps whose centre is farther away along an axis than its own reach and this
    int64_t frame, row, first_kind, last_kind;
};

float reach_of(const float* box) { return std::max(box[3], box[4]) * 0.5001f; }

// The objects in the order of their frames.
struct ObjectsByFrame {
    std::vector<Object> objects;

    ObjectsByFrame(const Objects& all, const MatchRules& rules, int64_t kinds) {
        for (int64_t row = 0; row < all.count; ++row) {
            const int64_t label = all.label[row];
            require(rules.any_class || (label >= 0 && label < kinds / 2), "there are no anchors of an object's class");
            const float* box = all.values + 7 * row;
            objects.push_back({Rectangle(box),
                               {box[0], box[1]},
                               reach_of(box),
                               all.frame[row],
                               row,
                               rules.any_class ? 0 : 2 * label,
                               rules.any_class ? kinds : 2 * label + 2});
        }
        std::stable_sort(objects.begin(), objects.end(), before);
    }

    std::pair<const Object*, const Object*> of(int64_t frame) const {
        struct Before {
            bool operator()(const Object& object, int64_t frame) const { return object.frame < frame; }
            bool operator()(int64_t frame, const Object& object) const { return frame < object.frame; }
        };
        const Object *first = objects.data(), *last = first + objects.size();
        return std::equal_range(first, last, frame, Before());
    }

 private:
    static bool before(const Object& a, const Object& b) { return a.frame < b.frame; }
};

struct Overlap {
    int64_t anchor, row;
    float value;
};

// Adds the overlaps of one site's anchors to `found`; best (kinds,): the largest of each anchor.
void find_overlaps(const float* anchors, int64_t site, int64_t kinds, const Object* first, const Object* last,
                   float* best, std::vector<Overlap>& found) {
    for (; first != last; ++first)
        for (int64_t kind = first->first_kind; kind < first->last_kind; ++kind) {
            const float *anchor = anchors + 7 * kind, reach = reach_of(anchor) + first->reach;
            if (!(std::abs(anchor[0] - first->place[0]) <= reach && std::abs(anchor[1] - first->place[1]) <= reach))
                continue;
            const float overlap = overlap_of(Rectangle(anchor), first->rectangle);
            if (!(overlap > 0)) continue;
            best[kind] = std::max(best[kind], overlap);
            found.push_back({site * kinds + kind, first->row, overlap});
        }
}

}  // namespace

void match_anchors(Pool& pool, const Anchors& anchors, const Objects& objects, const MatchRules& rules,
                   int64_t* result) {
    const int64_t sites = anchors.sites, kinds = anchors.kinds, tasks = (sites + SITES_AT_ONCE - 1) / SITES_AT_ONCE;
    if (objects.count == 0) return std::fill(result, result + sites * kinds, -1), void();
    const ObjectsByFrame by_frame(objects, rules, kinds);
    std::vector<std::vector<Overlap>> overlaps(tasks);
    for_each_task(pool, tasks, [&](int64_t task) {
        std::vector<float> best(kinds);
        std::vector<Overlap>& found = overlaps[task];
        for (int64_t site = task * SITES_AT_ONCE; site < std::min(sites, (task + 1) * SITES_AT_ONCE); ++site) {
            const int64_t frame = anchors.frame[site];
            std::fill(best.begin(), best.end(), 0.f);
            const size_t before = found.size();
            const auto [first, last] = by_frame.of(frame);
            find_overlaps(anchors.values + site * kinds * 7, site, kinds, first, last, best.data(), found);
            for (int64_t kind = 0; kind < kinds; ++kind)
                result[site * kinds + kind] = best[kind] >= rules.unmatched[kind] ? -2 : -1;
            for (size_t i = before; i < found.size(); ++i) {
                const auto [anchor, row, value] = found[i];
                const int64_t kind = anchor - site * kinds;
                if (value == best[kind] && value >= rules.matched[kind]) result[anchor] = std::max(result[anchor], row);
            }
        }
    });
    std::vector<float> most(objects.count, 0.f);
    for (const auto& found : overlaps)
        for (const auto& [anchor, row, value] : found) most[row] = std::max(most[row], value);
    // The best anchors of an object are its own, whatever else overlaps them.
    const auto for_each_best = [&](auto use) {
        for (const auto& found : overlaps)
            for (const auto& [anchor, row, value] : found)
                if (value == most[row]) use(result[anchor], row);
    };
    for_each_best([](int64_t& to, int64_t) { to = -1; });
    for_each_best([](int64_t& to, int64_t row) { to = std::max(to, row); });
}

}  // namespace mink_pd
