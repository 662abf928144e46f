// The largest value of a linear map over the rows of each group.
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory.h"
#include "pool.h"

namespace mink_pd {

// The group of each row (rows,), and the number of rows of each group (groups,), at least 1.
struct Grouping {
    const int64_t *group, *counts;
    int64_t rows, groups;
};

// W (channels, features) and b (channels,).
struct LinearMap {
    const float *weight, *bias;
    int64_t channels, features;
};

// max over the rows p of each group of W x_p + b, for x (rows, features): (groups, channels), and the winning rows,
// likewise.
void linear_max(Pool& pool, const float* x, const Grouping& grouping, const LinearMap& map, float* value,
                int32_t* winner);

// The gradients of W and b from those of the maxima (groups, channels), in parts that are to be summed up:
// (parts_of_groups(groups), channels, features) and (parts_of_groups(groups), channels). The cuts do not depend on the
// threads, or results would.
constexpr int64_t GROUPS_A_SUM = 1024;
constexpr int64_t parts_of_groups(int64_t groups) {
    return std::max<int64_t>(1, (groups + GROUPS_A_SUM - 1) / GROUPS_A_SUM);
}
void linear_max_backward(Pool& pool, const float* gradient, const int32_t* winners, int64_t groups, const float* x,
                         int64_t rows, int64_t features, int64_t channels, float* of_weight, float* of_bias);

}  // namespace mink_pd
