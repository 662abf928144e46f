// Batch norm of rows in training, followed by a ReLU: statistics, result and gradients.
#pragma once

#include <cstdint>

#include "pool.h"

namespace mink_pd {

// (rows, channels); a row starts every `stride` floats.
struct Matrix {
    const float* values;
    int64_t rows, channels, stride;
};
struct MutableMatrix {
    float* values;
    int64_t stride;
};

// Mean and biased variance (channels,) of the rows, of which there must be one or more.
void moments(Pool& pool, const Matrix& x, double* mean, double* variance);

// What a batch norm with its ReLU does to x: x * scale + shift, and with `relu` the positive part. By channel; mean and
// inverse = 1 / sqrt(variance + eps) are those of x, and scale = weight * inverse, shift = bias - mean * scale.
struct Norm {
    const float *mean, *inverse, *scale, *shift;
    bool relu;
};
void normalise(Pool& pool, const Matrix& x, const Norm& norm, MutableMatrix y);

// From the gradient of y those of x (rows, channels), weight and bias (channels,) (Ioffe and Szegedy 2015, section 3).
void normalise_backward(Pool& pool, const Matrix& gradient, const Matrix& x, const Norm& norm, float* of_x,
                        float* of_weight, float* of_bias);

}  // namespace mink_pd
