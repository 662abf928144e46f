// Weights of a sparse convolution packed as panels (blocks.h), and their products with the rows of pairs.
#pragma once

#include <cstdint>

#include "blocks.h"
#include "convolution.h"

namespace mink_pd {

// A row starts every `stride` floats.
struct SourceRows {
    const float* values;
    int64_t stride;
};
struct TargetRows {
    float* values;
    int64_t stride;
};

// Of one offset: (in, panel's width) for each panel, `width` channels together, a multiple of LANES.
struct Panels {
    const float* values;
    int64_t in, width;
};

// Whether weights must be packed. As they are they serve where one panel holds all channels.
bool needs_packing(const Weights& weights);

// The weights of offset k as panels: in * padded(out) floats, padded with zeros.
void pack_panels(const Weights& weights, int64_t k, float* to);

// y[target - first_row] += x[source] w for the pairs of one offset.
void add_products(Pairs pairs, SourceRows x, Panels w, TargetRows y, int64_t first_row);

}  // namespace mink_pd
