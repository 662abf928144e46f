// What a pillar net reads: the description of each point, and the moments that its batch norm needs of it.
#pragma once

#include "pillars.h"

namespace mink_pd {

// Columns of a description: those of the point, its offset to the mean of its pillar's points, its offset to the
// pillar's centre.
constexpr int64_t described(int64_t columns, int64_t axes) { return columns + 3 + axes; }

// Of points (rows, columns), x, y and z first, in pillars with centres (groups, axes), axes <= 3: (rows, described).
// The mean is summed in the order of the points.
void describe_points(Pool& pool, const float* points, int64_t columns, const Grouping& pillars, const float* centres,
                     int64_t axes, float* result);

// Mean (features,) and biased covariance (features, features) of x (rows, features); zeros if there is no row.
void covariance(Pool& pool, const float* x, int64_t rows, int64_t features, double* mean, double* covariance);

}  // namespace mink_pd
