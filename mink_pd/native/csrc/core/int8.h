// Sparse convolution in 8 bits: unsigned codes times signed weights, summed in 32 bits.
//
// A feature is code * step, a weight is its integer times a scale of its output channel. Sums over all offsets are
// exact, and what follows is one product in float32 and one rounding to nearest: the results are the same integers on
// every processor.
#pragma once

#include <cstdint>
#include <vector>

#include "blocks.h"
#include "memory.h"

namespace mink_pd {

// A row starts every `stride` numbers.
struct CodeRows {
    const uint8_t* codes;
    int64_t stride;
};
struct SumRows {
    int32_t* sums;
    int64_t stride;
};

// The instructions that products are computed with here.
const char* int8_instructions();

// Weights (volume, in, out), laid out for these instructions.
class Int8Weights {
 public:
    Int8Weights() = default;
    Int8Weights(const int8_t* values, int64_t volume, int64_t in, int64_t out);

    int64_t width() const { return width_; }  // padded(out)
    // y[target - first_row] += x[source] w[k] for the pairs of one offset. Codes behind a row's channels, up to a
    // multiple of 4, are read and do not count.
    void add_products(int64_t k, Pairs pairs, CodeRows x, SumRows y, int64_t first_row) const;

    // Of one offset: where its weights begin, where the places of its steps, and how many steps there are.
    struct Panel {
        int64_t weights, places, steps;
    };

 private:
    void pack_panel(const int8_t* values, int64_t out, int64_t first, int64_t vectors, std::vector<int8_t>& packed);

    int64_t in_ = 0, width_ = 0;
    std::vector<Panel> panels_;    // (volume, panels of an offset)
    std::vector<int32_t> places_;  // of each step the first of its four input channels
    Scratch<int8_t> weights_{0};   // of each step (panel's width, 4)
    Scratch<int32_t> centres_{0};  // (volume, width): what is added where the instructions take codes minus 128
};

// Codes of sums (count, width): sum * factor of its channel, rounded to nearest, ties to even, in 0 .. 255, which is a
// ReLU. A row of codes starts every `stride`.
void to_codes(SumRows sums, int64_t count, int64_t width, const float* factors, uint8_t* codes, int64_t stride);
// The same as float32, below 0 too unless there is a ReLU. The values may take the place of the sums.
void to_values(SumRows sums, int64_t count, int64_t width, const float* factors, bool relu, float* values,
               int64_t stride);

// Codes of values (count, width) that are 0 at least: value / step, rounded and limited likewise. Whether all are
// finite.
bool quantise(const float* values, int64_t values_stride, int64_t count, int64_t width, float step, uint8_t* codes,
              int64_t codes_stride);

}  // namespace mink_pd
