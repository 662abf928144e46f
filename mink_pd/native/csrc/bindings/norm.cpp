#include "../core/norm.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <vector>

#include "check.h"
#include "operators.h"
#include "pool.h"

namespace mink_pd::bindings {
namespace {

void check_channels(const Tensor& tensor, int64_t channels, const char* name) {
    check(tensor, at::kFloat, 1, name);
    TORCH_CHECK(tensor.numel() == channels, name, " must have one value a channel");
}

Matrix matrix_of(const Tensor& x) { return {x.const_data_ptr<float>(), x.size(0), x.size(1), x.stride(0)}; }

Norm norm_of(const Tensor& statistics, bool relu) {
    const float* at = statistics.const_data_ptr<float>();
    const int64_t channels = statistics.size(1);
    return {at, at + channels, at + 2 * channels, at + 3 * channels, relu};
}

}  // namespace

Tensor norm_relu(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                 const Tensor& running_var, double momentum, double eps, bool relu, const Tensor& into) {
    TORCH_CHECK(x.dim() == 2, "x must have 2 dimensions");
    const int64_t rows = x.size(0), channels = x.size(1);
    TORCH_CHECK(rows >= 2, "a variance needs two rows or more");
    check_matrix(x, rows, channels, "x");
    check_matrix(into, rows, channels, "into");
    check_channels(weight, channels, "weight"), check_channels(bias, channels, "bias");
    check_channels(running_mean, channels, "running_mean"), check_channels(running_var, channels, "running_var");
    std::vector<double> mean(channels), variance(channels);
    moments(torch_threads(), matrix_of(x), mean.data(), variance.data());
    Tensor statistics = at::empty({4, channels}, at::kFloat);
    float *all = statistics.mutable_data_ptr<float>(), *means = running_mean.mutable_data_ptr<float>(),
          *variances = running_var.mutable_data_ptr<float>();
    const float *weights = weight.const_data_ptr<float>(), *biases = bias.const_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
        const double inverse = 1 / std::sqrt(variance[c] + eps), scale = weights[c] * inverse;
        const double unbiased = variance[c] * (double(rows) / double(rows - 1));
        all[c] = float(mean[c]), all[channels + c] = float(inverse), all[2 * channels + c] = float(scale);
        all[3 * channels + c] = float(biases[c] - mean[c] * scale);
        means[c] = float(means[c] + momentum * (mean[c] - means[c]));
        variances[c] = float(variances[c] + momentum * (unbiased - variances[c]));
    }
    normalise(torch_threads(), matrix_of(x), norm_of(statistics, relu),
              {into.mutable_data_ptr<float>(), into.stride(0)});
    return statistics;
}

std::tuple<Tensor, Tensor, Tensor> norm_relu_backward(const Tensor& gradient, const Tensor& x, const Tensor& statistics,
                                                      bool relu) {
    TORCH_CHECK(x.dim() == 2, "x must have 2 dimensions");
    const int64_t rows = x.size(0), channels = x.size(1);
    check_matrix(x, rows, channels, "x");
    check_matrix(gradient, rows, channels, "gradient");
    check(statistics, at::kFloat, 2, "statistics");
    TORCH_CHECK(statistics.size(0) == 4 && statistics.size(1) == channels, "statistics must be (4, channels)");
    Tensor of_x = at::empty({rows, channels}, x.options());
    Tensor of_weight = at::empty({channels}, x.options()), of_bias = at::empty({channels}, x.options());
    normalise_backward(torch_threads(), matrix_of(gradient), matrix_of(x), norm_of(statistics, relu),
                       of_x.mutable_data_ptr<float>(), of_weight.mutable_data_ptr<float>(),
                       of_bias.mutable_data_ptr<float>());
    return {of_x, of_weight, of_bias};
}

}  // namespace mink_pd::bindings
