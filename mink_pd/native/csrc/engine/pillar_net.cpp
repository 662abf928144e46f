#include "pillar_net.h"

#include <algorithm>
#include <limits>

#include "core/blocks.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t PILLARS_AT_ONCE = 128;

// The largest of points (count, seen) times w (seen, width), V vectors of channels; coordinates relative to `centre`.
template <int V>
void largest(const float* points, int64_t count, int64_t seen, const float* centre, const float* w, int64_t width,
             float* result) {
    Vector best[V];
    UNROLL for (int v = 0; v < V; ++v)
        best[v] = Vector{} - std::numeric_limits<float>::infinity();
    for (int64_t p = 0; p < count; ++p, points += seen) {
        Vector sum[V];
        UNROLL for (int v = 0; v < V; ++v)
            sum[v] = Vector{};
        for (int64_t c = 0; c < seen; ++c) {
            const float value = points[c] - centre[c];
            UNROLL for (int v = 0; v < V; ++v)
                sum[v] += value * load(w + c * width + v * LANES);
        }
        UNROLL for (int v = 0; v < V; ++v)
            best[v] = sum[v] <= best[v] ? best[v] : sum[v];  // NaN is larger than all
    }
    UNROLL for (int v = 0; v < V; ++v)
        store(result + v * LANES, best[v]);
}

}  // namespace

PillarNet::PillarNet(const ModelFile& file, const PointPlan& points) : map_(file, "encoder", points) {
    if (file.description()["encoder"]["empty_slots"].boolean()) slots_ = points.most;
}

void PillarNet::feature(const float* points, int64_t count, const float* centre, float* y) const {
    alignas(64) float shared[MOST_CHANNELS];
    map_.shared_part(points, count, centre, shared);
    for_each_panel(map_.width, [&](int64_t first, int64_t vectors) {
        with_vectors(vectors, [&](auto v) {
            largest<v()>(points, count, map_.seen, centre, map_.by_point.data() + first, map_.width, y + first);
        });
    });
    const bool with_empty = slots_ > 0 && count < slots_;
    for (int64_t c = 0; c < map_.width; c += LANES) {
        Vector value = load(y + c) + load(shared + c);
        if (with_empty) {
            const Vector empty = load(map_.bias.data() + c);
            value = value < empty ? empty : value;
        }
        store(y + c, value < 0 ? Vector{} : value);
    }
}

void PillarNet::run(Pool& pool, const PillarPoints& points, float* y) const {
    const SiteGrid& grid = points.grid();
    for_each_task(pool, (points.pillars() + PILLARS_AT_ONCE - 1) / PILLARS_AT_ONCE, [&](int64_t task) {
        const int64_t last = std::min(points.pillars(), (task + 1) * PILLARS_AT_ONCE);
        for (int64_t m = task * PILLARS_AT_ONCE; m < last; ++m) {
            float centre[MOST_SEEN];
            map_.centre_of(grid, grid.cells()[m], centre);
            feature(points.points(m), points.count(m), centre, y + m * map_.width);
        }
    });
}

}  // namespace mink_pd::engine
