#include "layer.h"

#include <algorithm>
#include <cstring>

namespace mink_pd::engine {

Layer Layer::read(const ModelFile& file, const std::string& name, int64_t volume, int64_t in, bool relu) {
    const Tensor& weight = file.tensor(name + ".weight", {volume, in, -1});
    const int64_t out = weight.shape[2];
    return Layer(weight.values, file.tensor(name + ".bias", {out}).values, volume, in, out, relu);
}

Layer::Layer(const float* values, const float* bias_values, int64_t volume, int64_t in, int64_t out, bool relu)
    : volume(volume), in(in), out(out), width(padded(out)), weights(volume * in * width), bias(width), relu(relu) {
    const Weights plain{values, volume, in, out, false};
    for (int64_t k = 0; k < volume; ++k) pack_panels(plain, k, weights.data() + k * in * width);
    std::fill(std::copy_n(bias_values, out, bias.data()), bias.data() + width, 0.f);
}

void Layer::begin(TargetRows y, int64_t count) const {
    for (int64_t r = 0; r < count; ++r) std::memcpy(y.values + r * y.stride, bias.data(), width * sizeof(float));
}

void Layer::finish(TargetRows y, int64_t count) const {
    if (!relu) return;
    for (int64_t r = 0; r < count; ++r) {
        float* row = y.values + r * y.stride;
        for (int64_t c = 0; c < width; c += LANES) {
            const Vector v = load(row + c);
            store(row + c, v < 0 ? Vector{} : v);  // NaN stays
        }
    }
}

void convolve(const Layer& layer, SourceRows x, const PairSlots& pairs, TargetRows y, int64_t first_row,
              int64_t count) {
    layer.begin(y, count);
    for (int64_t k = 0; k < layer.volume; ++k)
        if (pairs[k].count > 0) add_products(pairs[k], x, layer.panels(k), y, first_row);
    layer.finish(y, count);
}

}  // namespace mink_pd::engine
