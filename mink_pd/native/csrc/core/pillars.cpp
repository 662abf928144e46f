// The largest value of a linear map over the rows of each group, without ever holding the map's values of all rows.
//
// A pillar's feature is such a maximum. The values of all points would be memory-bound many times over; only the
// winners are kept, and only to them does a gradient go.
#include "pillars.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "blocks.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
constexpr int64_t GROUPS_AT_ONCE = 256;

// Rows in the order of their groups, their own order kept (counting sort), and where each group begins (M + 1).
struct Groups {
    std::vector<int32_t> order, start;

    Groups(const Grouping& grouping) : order(grouping.rows), start(grouping.groups + 1) {
        int64_t sum = 0;
        for (int64_t m = 0; m < grouping.groups; ++m) {
            const int64_t count = grouping.counts[m];
            require(count >= 1 && count <= grouping.rows - sum, UNEQUAL);
            start[m + 1] = int32_t(sum += count);
        }
        require(sum == grouping.rows, UNEQUAL);
        std::vector<int32_t> next(start.begin(), start.end() - 1);
        for (int64_t p = 0; p < grouping.rows; ++p) {
            const int64_t group = grouping.group[p];
            require(group >= 0 && group < grouping.groups && next[group] < start[group + 1], UNEQUAL);
            order[next[group]++] = int32_t(p);
        }
    }

    static constexpr const char* UNEQUAL = "counts are not the numbers of rows of the groups, each at least 1";
};

// Weights (C, F) and bias (C,) as rows of channels for vectors: F + 1 rows of C rounded up, the bias last.
std::vector<float> rows_of_channels(const LinearMap& map, int64_t width) {
    const int64_t channels = map.channels, features = map.features;
    std::vector<float> rows((features + 1) * width, 0.f);
    for (int64_t c = 0; c < channels; ++c) {
        for (int64_t f = 0; f < features; ++f) rows[f * width + c] = map.weight[c * features + f];
        rows[features * width + c] = map.bias[c];
    }
    return rows;
}

// Largest w x + b over some rows x, and the first row that has it; V vectors of channels. NaN is larger than all.
template <int V>
void largest(const float* x, int64_t features, const int32_t* rows, int64_t count, const float* w, int64_t width,
             float* value, int32_t* winner) {
    Vector best[V], bias[V];
    Integers who[V];
    UNROLL for (int v = 0; v < V; ++v) {
        bias[v] = load(w + features * width + v * LANES);
        best[v] = Vector{} - std::numeric_limits<float>::infinity();
        who[v] = Integers{} + rows[0];
    }
    for (int64_t r = 0; r < count; ++r) {
        const float* row = x + rows[r] * features;
        Vector sum[V];
        UNROLL for (int v = 0; v < V; ++v)
            sum[v] = bias[v];
        const float* weight = w;
        for (int64_t f = 0; f < features; ++f, weight += width) {
            UNROLL for (int v = 0; v < V; ++v)
                sum[v] += row[f] * load(weight + v * LANES);
        }
        UNROLL for (int v = 0; v < V; ++v) {
            const Integers smaller = sum[v] <= best[v];
            best[v] = smaller ? best[v] : sum[v];
            who[v] = smaller ? who[v] : Integers{} + rows[r];
        }
    }
    UNROLL for (int v = 0; v < V; ++v) {
        store(value + v * LANES, best[v]);
        std::memcpy(winner + v * LANES, &who[v], sizeof who[v]);
    }
}

}  // namespace

void linear_max(Pool& pool, const float* x, const Grouping& grouping, const LinearMap& map, float* value,
                int32_t* winner) {
    require(grouping.rows <= std::numeric_limits<int32_t>::max(), "more than 2^31 rows");
    const Groups groups(grouping);
    const int64_t features = map.features, channels = map.channels, count = grouping.groups;
    const int64_t width = padded(channels);
    const std::vector<float> w = rows_of_channels(map, width);
    for_each_task(pool, (count + GROUPS_AT_ONCE - 1) / GROUPS_AT_ONCE, [&](int64_t task) {
        float some_values[PANEL];
        int32_t some_winners[PANEL];
        const int64_t last = std::min(count, (task + 1) * GROUPS_AT_ONCE);
        for (int64_t m = task * GROUPS_AT_ONCE; m < last; ++m)
            for (int64_t c = 0; c < channels; c += PANEL) {
                const int64_t some = std::min<int64_t>(PANEL, channels - c);
                with_vectors((some + LANES - 1) / LANES, [&](auto vectors) {
                    largest<vectors()>(x, features, groups.order.data() + groups.start[m],
                                       groups.start[m + 1] - groups.start[m], w.data() + c, width, some_values,
                                       some_winners);
                });
                std::memcpy(value + m * channels + c, some_values, some * sizeof(float));
                std::memcpy(winner + m * channels + c, some_winners, some * sizeof(int32_t));
            }
    });
}

void linear_max_backward(Pool& pool, const float* gradient, const int32_t* winners, int64_t groups, const float* x,
                         int64_t rows, int64_t features, int64_t channels, float* of_weight, float* of_bias) {
    std::atomic<bool> inside{true};
    for_each_task(pool, parts_of_groups(groups), [&](int64_t part) {
        float* weight = of_weight + part * channels * features;
        float* bias = of_bias + part * channels;
        std::fill(weight, weight + channels * features, 0.f);
        std::fill(bias, bias + channels, 0.f);
        for (int64_t m = part * GROUPS_A_SUM; m < std::min(groups, (part + 1) * GROUPS_A_SUM); ++m) {
            const float* g = gradient + m * channels;
            const int32_t* winner = winners + m * channels;
            if (!all_within(winner, channels, 0, rows)) {
                inside.store(false, std::memory_order_relaxed);
                break;
            }
            for (int64_t c = 0; c < channels; ++c) {
                if (g[c] == 0) continue;  // behind a ReLU many are
                const float* row = x + winner[c] * features;
                bias[c] += g[c];
                for (int64_t f = 0; f < features; ++f) weight[c * features + f] += g[c] * row[f];
            }
        }
    });
    require(inside, "a winner is not one of the rows");
}

}  // namespace mink_pd
