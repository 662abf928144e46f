// Multi-layer perceptrons of point networks at inference: on rows, and on groups of points (mlp.cpp).
#pragma once

#include <cstdint>
#include <span>

#include "pool.h"

namespace mink_pd {

// y = x weight^T + shift, then max(y, 0) where `relu`.
struct DenseLayer {
    const float* weight;  // (out, in), a row every `stride` floats
    const float* shift;   // (out,)
    int64_t in, out, stride;
    bool relu;
};

// Added to the sums of one layer, before its ReLU: for row i the sum over k of weights[i, k] * table[sources[i, k]].
struct TableSum {
    const float* table;      // (rows, the layer's out)
    const int64_t* sources;  // (n, count)
    const float* weights;    // (n, count); null: all are 1
    int64_t rows, count, layer;
};

// x (rows, in of the first layer) through all layers: (rows, out of the last). `sum` may be null.
void mlp_rows(Pool& pool, const float* x, int64_t rows, std::span<const DenseLayer> layers, const TableSum* sum,
              float* result);

// Groups of points around centres. A group is filled up with its first row.
struct PointGroups {
    const float* features;  // (points, channels), of which `channels` is the first layer's out: projected already
    const float* xyz;       // (points, 3)
    const float* centres;   // (groups, 3)
    const int64_t* rows;    // (groups, size), of points
    int64_t points, groups, size;
};

// For each group the largest values of its rows, (groups, out of the last layer). The first layer's input is the offset
// of a row from its centre, and the row's features are added to its sums; `layers` follow.
void mlp_groups(Pool& pool, const PointGroups& groups, const DenseLayer& first, std::span<const DenseLayer> layers,
                float* result);

}  // namespace mink_pd
