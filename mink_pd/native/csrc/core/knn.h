// The K nearest of some points to each of others, in 2 or 3 dimensions, exactly.
#pragma once

#include <cstdint>

#include "pool.h"

namespace mink_pd {

// (count, k): rows of the k nearest points (rows, dimension) of each query (count, dimension), nearest first, equally
// near ones by row.
void nearest(Pool& pool, const float* queries, int64_t count, const float* points, int64_t rows, int64_t dimension,
             int64_t k, int64_t* result);

}  // namespace mink_pd
