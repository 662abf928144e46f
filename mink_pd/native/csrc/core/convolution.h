// Sparse convolution over pair lists: products forward and for the input's gradient, and the weights' gradient.
#pragma once

#include <cstdint>

#include "maps.h"
#include "pool.h"

namespace mink_pd {

// (rows, channels)
struct Features {
    const float* values;
    int64_t rows, channels;
};

// (volume, in, out), or (volume, out, in) transposed.
struct Weights {
    const float* values;
    int64_t volume, in, out;
    bool transposed;
};

struct Map {
    PairList pairs;
    int64_t rows;   // that are targets
    bool mirrored;  // the offset's negative, which turns pairs of coordinates onto themselves into those of the inverse
};

// What is done to finished rows: y * scale + shift, then max(y, 0). A null pointer leaves its part out.
struct Epilogue {
    const float *scale, *shift;
    bool relu;
};

// Whether products can be rounded to bfloat16 here (bf16.h).
bool multiplies_bf16();

// Rows of results; a row starts every `stride` floats.
struct ResultRows {
    float* values;
    int64_t stride;
};

// (map.rows, weights.out): for every pair, y[target] += x[source] weights[offset], then the epilogue. With `rounded` in
// bfloat16, which must be there.
void products(Pool& pool, const Features& x, const Weights& weights, const Map& map, const Epilogue& epilogue,
              bool rounded, ResultRows result);

// (volume, in, out): for every offset the sum over its pairs of x[source]^T y[target].
void outer_products(Pool& pool, const Features& x, const Features& gradient, const PairList& pairs, float* result);

}  // namespace mink_pd
