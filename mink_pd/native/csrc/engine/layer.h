// Convolutions with their batch norm folded in, packed for the core's products, and the pairs of a tile of its rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/int8.h"
#include "core/panels.h"
#include "model_file.h"

namespace mink_pd::engine {

// Rows of features, which start every `stride` numbers: as float32, as codes of 8 bits, or as both; null where they are
// not there. Channels are padded with zeros.
struct Source {
    const float* values;
    int64_t stride;
    const uint8_t* codes = nullptr;
};
// Where a layer writes: codes unless null, and values if `floats`. Values are also the memory that it works in.
struct Target {
    float* values;
    int64_t stride;
    uint8_t* codes = nullptr;
    bool floats = true;

    // From another row or column on.
    Target at(int64_t row, int64_t column) const {
        const int64_t place = row * stride + column;
        return {values + place, stride, codes == nullptr ? nullptr : codes + place, floats};
    }
};

// Channels of an input, and how many numbers of a row they take.
struct Channels {
    int64_t count, width;
};

// A convolution with its batch norm folded in, ReLU after it or not: weights (volume, in, out) and a bias (out,), in
// float32, or weights and codes of 8 bits (core/int8.h).
struct Layer {
    struct Int8 {
        Int8Weights weights;
        Scratch<int32_t> bias{0};
        Scratch<float> scale{0}, factor{0};  // (width,): of a sum its value, and its code
    };

    int64_t volume = 0, in = 0, out = 0, width = 0;  // width: padded(out)
    Scratch<float> weights{0}, bias{0};
    std::optional<Int8> int8;
    float step = 0;  // of the result's codes; 0: none are wanted
    bool relu = true;

    // The tensors NAME.weight, NAME.bias and what belongs to them. Weights are (volume, in, out), or (in, out) where
    // the volume is 1. `parts`: where the rows of the input have gaps, which count as channels of the layer.
    static Layer read(const ModelFile& file, const std::string& name, int64_t volume,
                      const std::vector<Channels>& parts, bool relu);
    static Layer read(const ModelFile& file, const std::string& name, int64_t volume, int64_t in, bool relu) {
        return read(file, name, volume, {{in, in}}, relu);
    }

    Panels panels(int64_t k) const { return {weights.data() + k * in * width, in, width}; }
    // Throws Error unless the layer finds in the result of another one, or of the encoder, what it reads.
    void check_reads(float step_before) const;

    // Of `count` rows at y: sets them to the bias, adds the products of the pairs of offset k, whose targets are
    // counted from first_row, and applies ReLU. Between the calls y.values holds sums. Throws NotFinite if codes are
    // wanted of a value that is not.
    void begin(Target y, int64_t count) const;
    void add(int64_t k, Pairs pairs, Source x, Target y, int64_t first_row) const;
    void finish(Target y, int64_t count) const;
};

// The step NAME.step of a result's codes; 0: none are wanted.
float read_step(const ModelFile& file, const std::string& name);
// The codes of values (count, width) that are 0 at least. Throws NotFinite.
void write_codes(const float* values, int64_t stride, int64_t count, int64_t width, float step, uint8_t* codes);

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
void convolve(const Layer& layer, Source x, const PairSlots& pairs, Target y, int64_t first_row, int64_t count);

}  // namespace mink_pd::engine
