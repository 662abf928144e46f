// A convolution with its batch norm folded in, packed for the core's products, and the pairs of a tile of its rows.
#pragma once

#include <cstdint>
#include <string>

#include "core/panels.h"
#include "model_file.h"

namespace mink_pd::engine {

// Weights (volume, in, out) and a bias (out,), ReLU after it or not. Rows of features start every padded(channels)
// floats, and what lies behind the channels is 0.
struct Layer {
    int64_t volume = 0, in = 0, out = 0, width = 0;  // width: padded(out)
    Scratch<float> weights{0}, bias{0};
    bool relu = true;

    // The tensors NAME.weight and NAME.bias.
    static Layer read(const ModelFile& file, const std::string& name, int64_t volume, int64_t in, bool relu);
    // From values (volume, in, out) and (out,).
    Layer(const float* values, const float* bias, int64_t volume, int64_t in, int64_t out, bool relu);
    Layer() = default;

    Panels panels(int64_t k) const { return {weights.data() + k * in * width, in, width}; }
    // `count` rows at y set to the bias.
    void begin(TargetRows y, int64_t count) const;
    // max(y, 0) where there is a ReLU.
    void finish(TargetRows y, int64_t count) const;
};

// For each offset of a kernel the pairs of a source row and a target row of one tile.
class PairSlots {
 public:
    PairSlots(int32_t* memory, int64_t volume, int64_t rows) : volume_(volume), slot_(slot_of(rows)) {
        count_ = memory, source_ = memory + volume, target_ = source_ + volume * slot_;
    }
    // Numbers that `memory` must hold.
    static int64_t size(int64_t volume, int64_t rows) { return volume + 2 * volume * slot_of(rows); }

    void clear() {
        for (int64_t k = 0; k < volume_; ++k) count_[k] = 0;
    }
    // Adds a pair where `there` is 1; without a branch, which would often be mispredicted.
    void add(int64_t k, int64_t source, int64_t target, int64_t there) {
        const int64_t at = k * slot_ + count_[k];
        source_[at] = int32_t(source), target_[at] = int32_t(target);
        count_[k] += int32_t(there);
    }
    Pairs operator[](int64_t k) const { return {source_ + k * slot_, target_ + k * slot_, count_[k]}; }
    int64_t volume() const { return volume_; }

 private:
    static int64_t slot_of(int64_t rows) { return rows + 1; }  // a pair that is not there is written behind the last

    int64_t volume_, slot_;
    int32_t *count_, *source_, *target_;
};

// The whole layer for a tile: `count` rows at y, of which the first is target row `first_row` of the pairs.
void convolve(const Layer& layer, SourceRows x, const PairSlots& pairs, TargetRows y, int64_t first_row, int64_t count);

}  // namespace mink_pd::engine
