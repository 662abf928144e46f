#include "../core/description.h"

#include <ATen/ops/empty.h>

#include "check.h"
#include "operators.h"
#include "pool.h"

namespace mink_pd::bindings {

Tensor describe_points(const Tensor& points_, const Tensor& pillar_, const Tensor& counts_, const Tensor& centres_) {
    const Tensor points = points_.contiguous(), pillar = pillar_.contiguous(), counts = counts_.contiguous();
    const Tensor centres = centres_.contiguous();
    check(points, at::kFloat, 2, "points");
    check(pillar, at::kLong, 1, "pillar");
    check(counts, at::kLong, 1, "counts");
    check(centres, at::kFloat, 2, "centres");
    TORCH_CHECK(points.size(0) == pillar.numel() && counts.numel() == centres.size(0),
                "pillar must name the pillar of each point, and each pillar must have a count and a centre");
    const int64_t columns = points.size(1), axes = centres.size(1);
    TORCH_CHECK(columns >= 3 && axes <= 3, "points must have 3 columns or more, and centres 3 at most");
    Tensor result = at::empty({points.size(0), described(columns, axes)}, points.options());
    describe_points(
        torch_threads(), points.const_data_ptr<float>(), columns,
        {pillar.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>(), points.size(0), counts.numel()},
        centres.const_data_ptr<float>(), axes, result.mutable_data_ptr<float>());
    return result;
}

std::tuple<Tensor, Tensor> covariance(const Tensor& x_) {
    const Tensor x = x_.contiguous();
    check(x, at::kFloat, 2, "x");
    const int64_t features = x.size(1);
    Tensor mean = at::empty({features}, at::kDouble), result = at::empty({features, features}, at::kDouble);
    covariance(torch_threads(), x.const_data_ptr<float>(), x.size(0), features, mean.mutable_data_ptr<double>(),
               result.mutable_data_ptr<double>());
    return {mean, result};
}

}  // namespace mink_pd::bindings
