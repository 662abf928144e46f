// Bindings of mlp.h.
#include "../core/mlp.h"

#include <ATen/ops/empty.h>

#include "check.h"
#include "operators.h"
#include "pool.h"

namespace mink_pd::bindings {
namespace {

// The weight may be some columns of a larger matrix.
DenseLayer layer_of(const Tensor& weight, const Tensor& shift, bool relu) {
    TORCH_CHECK(weight.is_cpu() && weight.layout() == at::kStrided && weight.scalar_type() == at::kFloat,
                "a weight must be a CPU tensor of type Float");
    TORCH_CHECK(weight.dim() == 2 && weight.size(0) > 0 && weight.size(1) > 0, "a weight must be (out, in)");
    TORCH_CHECK(weight.stride(1) == 1 && (weight.size(0) == 1 || weight.stride(0) >= weight.size(1)),
                "a weight's rows must be contiguous");
    check(shift, at::kFloat, 1, "shift");
    TORCH_CHECK(shift.numel() == weight.size(0), "shift must have one value a channel");
    return {weight.const_data_ptr<float>(),
            shift.const_data_ptr<float>(),
            weight.size(1),
            weight.size(0),
            weight.stride(0),
            relu};
}

// All layers have a ReLU, the last one if `relu`.
std::vector<DenseLayer> layers_of(at::TensorList weights, at::TensorList shifts, bool relu) {
    TORCH_CHECK(weights.size() == shifts.size(), "there must be a shift for each weight");
    std::vector<DenseLayer> layers;
    for (size_t n = 0; n < weights.size(); ++n)
        layers.push_back(layer_of(weights[n], shifts[n], relu || n + 1 < weights.size()));
    return layers;
}

}  // namespace

Tensor mlp_rows(const Tensor& x, at::TensorList weights, at::TensorList shifts, bool relu,
                const std::optional<Tensor>& table, const std::optional<Tensor>& sources,
                const std::optional<Tensor>& shares, int64_t layer) {
    check(x, at::kFloat, 2, "x");
    const std::vector<DenseLayer> layers = layers_of(weights, shifts, relu);
    TORCH_CHECK(!layers.empty() && layers[0].in == x.size(1), "the first weight must take the channels of x");
    const int64_t rows = x.size(0);
    check_new_rows(rows, "rows");
    TableSum sum{};
    if (table) {
        TORCH_CHECK(sources.has_value(), "a table needs sources");
        check(*table, at::kFloat, 2, "table");
        check(*sources, at::kLong, 2, "sources");
        TORCH_CHECK(layer >= 0 && layer < int64_t(layers.size()), "there is no such layer");
        TORCH_CHECK(table->size(1) == layers[layer].out && sources->size(0) == rows,
                    "table must have the layer's channels, and sources a row for each row of x");
        if (shares) {
            check(*shares, at::kFloat, 2, "shares");
            TORCH_CHECK(shares->sizes() == sources->sizes(), "there must be a share for each source");
        }
        sum = {table->const_data_ptr<float>(),
               sources->const_data_ptr<int64_t>(),
               shares ? shares->const_data_ptr<float>() : nullptr,
               table->size(0),
               sources->size(1),
               layer};
    }
    Tensor result = at::empty({rows, layers.back().out}, x.options());
    mlp_rows(torch_threads(), x.const_data_ptr<float>(), rows, layers, table ? &sum : nullptr,
             result.mutable_data_ptr<float>());
    return result;
}

Tensor mlp_groups(const Tensor& features, const Tensor& xyz, const Tensor& centres, const Tensor& rows,
                  at::TensorList weights, at::TensorList shifts) {
    check(features, at::kFloat, 2, "features");
    check(xyz, at::kFloat, 2, "xyz");
    check(centres, at::kFloat, 2, "centres");
    check(rows, at::kLong, 2, "rows");
    TORCH_CHECK(xyz.size(1) == 3 && xyz.size(0) == features.size(0), "xyz must be (S, 3), and features (S, C)");
    TORCH_CHECK(centres.size(1) == 3 && centres.size(0) == rows.size(0), "centres must be (G, 3), and rows (G, K)");
    TORCH_CHECK(rows.size(1) > 0, "a group needs a row");
    check_rows(rows.size(1), "the size of a group");
    const std::vector<DenseLayer> layers = layers_of(weights, shifts, true);
    TORCH_CHECK(!layers.empty() && layers[0].in == 3 && layers[0].out == features.size(1),
                "the first weight must take offsets and have the channels of the features");
    const PointGroups groups{features.const_data_ptr<float>(),
                             xyz.const_data_ptr<float>(),
                             centres.const_data_ptr<float>(),
                             rows.const_data_ptr<int64_t>(),
                             features.size(0),
                             rows.size(0),
                             rows.size(1)};
    Tensor result = at::empty({rows.size(0), layers.back().out}, features.options());
    mlp_groups(torch_threads(), groups, layers[0], std::span(layers).subspan(1), result.mutable_data_ptr<float>());
    return result;
}

}  // namespace mink_pd::bindings
