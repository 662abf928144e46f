// The largest value of a linear map over the rows of each group, without ever holding the map's values of all rows.
//
// A pillar's feature is such a maximum. The values of all points would be memory-bound many times over; only the
// winners are kept, and only to them does a gradient go.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

#include "blocks.h"
#include "tasks.h"

namespace mink_pd {
namespace {

typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
constexpr int64_t GROUPS_AT_ONCE = 256, GROUPS_A_SUM = 1024;

// Rows in the order of their groups, their own order kept (counting sort), and where each group begins (M + 1).
struct Groups {
    std::vector<int32_t> order, start;

    Groups(const at::Tensor& group, const at::Tensor& counts) : order(group.numel()), start(counts.numel() + 1) {
        const int64_t *of = group.const_data_ptr<int64_t>(), *count = counts.const_data_ptr<int64_t>();
        for (int64_t m = 0; m < counts.numel(); ++m) start[m + 1] = start[m] + int32_t(count[m]);
        TORCH_CHECK(start.back() == int64_t(order.size()), "counts do not add up to the number of rows");
        std::vector<int32_t> next(start.begin(), start.end() - 1);
        for (size_t p = 0; p < order.size(); ++p) order[next[of[p]]++] = int32_t(p);
    }
};

// Weights (C, F) and bias (C,) as rows of channels for vectors: F + 1 rows of C rounded up, the bias last.
std::vector<float> rows_of_channels(const at::Tensor& weight, const at::Tensor& bias, int64_t width) {
    const int64_t channels = weight.size(0), features = weight.size(1);
    std::vector<float> rows((features + 1) * width, 0.f);
    for (int64_t c = 0; c < channels; ++c) {
        for (int64_t f = 0; f < features; ++f)
            rows[f * width + c] = weight.const_data_ptr<float>()[c * features + f];
        rows[features * width + c] = bias.const_data_ptr<float>()[c];
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
        UNROLL for (int v = 0; v < V; ++v) sum[v] = bias[v];
        const float* weight = w;
        for (int64_t f = 0; f < features; ++f, weight += width) {
            UNROLL for (int v = 0; v < V; ++v) sum[v] += row[f] * load(weight + v * LANES);
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

void check(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1) && bias.dim() == 1 &&
                    bias.size(0) == weight.size(0),
                "x must be (P, F), weight (C, F) and bias (C,)");
}

// max over the rows p of each group of W x_p + b, for x (P, F), W (C, F), b (C,): (M, C), and the winning rows int32
// (M, C). group int64 (P,), counts int64 (M,), none of them 0.
std::tuple<at::Tensor, at::Tensor> linear_max(const at::Tensor& some_x, const at::Tensor& some_weight,
                                              const at::Tensor& some_bias, const at::Tensor& group,
                                              const at::Tensor& counts) {
    const at::Tensor x = some_x.contiguous(), weight = some_weight.contiguous(), bias = some_bias.contiguous();
    check(x, weight, bias);
    const Groups groups(group.contiguous(), counts.contiguous());
    const int64_t features = x.size(1), channels = weight.size(0), count = counts.numel();
    const int64_t width = (channels + LANES - 1) / LANES * LANES;
    const std::vector<float> w = rows_of_channels(weight, bias, width);
    at::Tensor values = at::empty({count, channels}, x.options()), winners = at::empty({count, channels}, at::kInt);
    float* value = values.mutable_data_ptr<float>();
    int32_t* winner = winners.mutable_data_ptr<int32_t>();
    for_each_task((count + GROUPS_AT_ONCE - 1) / GROUPS_AT_ONCE, [&](int64_t task) {
        float some_values[PANEL];
        int32_t some_winners[PANEL];
        const int64_t last = std::min(count, (task + 1) * GROUPS_AT_ONCE);
        for (int64_t m = task * GROUPS_AT_ONCE; m < last; ++m)
            for (int64_t c = 0; c < channels; c += PANEL) {
                const int64_t some = std::min<int64_t>(PANEL, channels - c);
                with_vectors((some + LANES - 1) / LANES, [&](auto vectors) {
                    largest<vectors()>(x.const_data_ptr<float>(), features, groups.order.data() + groups.start[m],
                                       groups.start[m + 1] - groups.start[m], w.data() + c, width, some_values,
                                       some_winners);
                });
                std::memcpy(value + m * channels + c, some_values, some * sizeof(float));
                std::memcpy(winner + m * channels + c, some_winners, some * sizeof(int32_t));
            }
    });
    return {values, winners};
}

// The gradients (C, F) of W and (C,) of b from those of the maxima (M, C).
std::tuple<at::Tensor, at::Tensor> linear_max_backward(const at::Tensor& some_gradient, const at::Tensor& some_x,
                                                       const at::Tensor& winners) {
    const at::Tensor gradient = some_gradient.contiguous(), x = some_x.contiguous();
    const int64_t count = gradient.size(0), channels = gradient.size(1), features = x.size(1);
    // The cuts must not depend on the threads, or results would.
    const int64_t parts = std::max<int64_t>(1, (count + GROUPS_A_SUM - 1) / GROUPS_A_SUM);
    at::Tensor of_weight = at::empty({parts, channels, features}, x.options());
    at::Tensor of_bias = at::empty({parts, channels}, x.options());
    for_each_task(parts, [&](int64_t part) {
        float* weight = of_weight.mutable_data_ptr<float>() + part * channels * features;
        float* bias = of_bias.mutable_data_ptr<float>() + part * channels;
        std::fill(weight, weight + channels * features, 0.f);
        std::fill(bias, bias + channels, 0.f);
        for (int64_t m = part * GROUPS_A_SUM; m < std::min(count, (part + 1) * GROUPS_A_SUM); ++m) {
            const float* g = gradient.const_data_ptr<float>() + m * channels;
            const int32_t* winner = winners.const_data_ptr<int32_t>() + m * channels;
            for (int64_t c = 0; c < channels; ++c) {
                if (g[c] == 0) continue;  // behind a ReLU many are
                const float* row = x.const_data_ptr<float>() + winner[c] * features;
                bias[c] += g[c];
                for (int64_t f = 0; f < features; ++f) weight[c * features + f] += g[c] * row[f];
            }
        }
    });
    return {of_weight.sum(0), of_bias.sum(0)};
}

}  // namespace
}  // namespace mink_pd

TORCH_LIBRARY_FRAGMENT(mink_pd, library) {
    library.def("linear_max(Tensor x, Tensor weight, Tensor bias, Tensor group, Tensor counts) -> (Tensor, Tensor)",
                &mink_pd::linear_max);
    library.def("linear_max_backward(Tensor gradient, Tensor x, Tensor winners) -> (Tensor, Tensor)",
                &mink_pd::linear_max_backward);
}
