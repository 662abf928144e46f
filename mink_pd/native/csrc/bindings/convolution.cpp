#include "../core/convolution.h"

#include <ATen/ops/empty.h>

#include "check.h"
#include "operators.h"
#include "pairs.h"
#include "pool.h"

namespace mink_pd::bindings {
namespace {

Features features_of(const Tensor& tensor, const char* name) {
    check(tensor, at::kFloat, 2, name);
    return {tensor.const_data_ptr<float>(), tensor.size(0), tensor.size(1)};
}

Weights weights_of(const Tensor& tensor, bool transposed) {
    check(tensor, at::kFloat, 3, "weights");
    const int64_t in = tensor.size(transposed ? 2 : 1), out = tensor.size(transposed ? 1 : 2);
    return {tensor.const_data_ptr<float>(), tensor.size(0), in, out, transposed};
}

const float* per_channel(const std::optional<Tensor>& tensor, int64_t channels, const char* name) {
    if (!tensor) return nullptr;
    check(*tensor, at::kFloat, 1, name);
    TORCH_CHECK(tensor->numel() == channels, name, " must have one value a channel");
    return tensor->const_data_ptr<float>();
}

}  // namespace

void write_products(const Tensor& x, const Tensor& weights, const Tensor& source, const Tensor& target,
                    const Tensor& table, bool transposed, bool mirrored, const std::optional<Tensor>& scale,
                    const std::optional<Tensor>& shift, bool relu, bool rounded, const Tensor& into) {
    const Features features = features_of(x, "features");
    const Weights kernel = weights_of(weights, transposed);
    TORCH_CHECK(kernel.in == features.channels, "features have ", features.channels, " channels, weights take ",
                kernel.in);
    check_matrix(into, into.size(0), kernel.out, "into");
    const int64_t rows = into.size(0);
    const Map map{pairs_of(source, target, table), rows, mirrored};
    TORCH_CHECK(map.pairs.tiles == tiles_of(rows), "the table of a kernel map does not fit its rows");
    const Epilogue epilogue{per_channel(scale, kernel.out, "scale"), per_channel(shift, kernel.out, "shift"), relu};
    const ResultRows to{into.mutable_data_ptr<float>(), into.stride(0)};
    with_torch_threads([&](Pool& pool) { products(pool, features, kernel, map, epilogue, rounded, to); });
}

Tensor products(const Tensor& x, const Tensor& weights, const Tensor& source, const Tensor& target, const Tensor& table,
                int64_t rows, bool transposed, bool mirrored, const std::optional<Tensor>& scale,
                const std::optional<Tensor>& shift, bool relu, bool rounded) {
    check_new_rows(rows, "rows");
    check(weights, at::kFloat, 3, "weights");
    const Tensor result = at::empty({rows, weights.size(transposed ? 1 : 2)}, weights.options());
    write_products(x, weights, source, target, table, transposed, mirrored, scale, shift, relu, rounded, result);
    return result;
}

Tensor outer_products(const Tensor& x, const Tensor& gradient, const Tensor& source, const Tensor& target,
                      const Tensor& table) {
    const Features features = features_of(x, "features"), gradients = features_of(gradient, "gradient");
    const PairList pairs = pairs_of(source, target, table);
    Tensor result = at::empty({pairs.volume, features.channels, gradients.channels}, x.options());
    float* to = result.mutable_data_ptr<float>();
    with_torch_threads([&](Pool& pool) { outer_products(pool, features, gradients, pairs, to); });
    return result;
}

}  // namespace mink_pd::bindings
