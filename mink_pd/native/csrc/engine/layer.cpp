#include "layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "not_finite.h"

namespace mink_pd::engine {
namespace {

// The sums of a layer in 8 bits have 31 bits: of so many products and such a bias they never reach more.
constexpr int64_t MOST_PRODUCTS = 32768, MOST_BIAS = 1 << 30;

// Rows (volume, in, out) with rows of zeros behind each part.
template <typename T>
std::vector<T> with_gaps(const T* rows, int64_t volume, const std::vector<Channels>& parts, int64_t out) {
    std::vector<T> result;
    for (int64_t k = 0; k < volume; ++k)
        for (const auto& [count, width] : parts) {
            result.insert(result.end(), rows, rows + count * out);
            result.resize(result.size() + (width - count) * out);
            rows += count * out;
        }
    return result;
}

template <typename T>
Scratch<T> widened(const T* values, int64_t count, int64_t width) {
    Scratch<T> result(width);
    std::fill(std::copy_n(values, count, result.data()), result.data() + width, T(0));
    return result;
}

Layer::Int8 read_int8(const ModelFile& file, const std::string& name, const Layer& layer, const int8_t* weights) {
    const int64_t out = layer.out, width = layer.width;
    const int32_t* bias = file.tensor(name + ".bias", {out}, Type::INT32).integers;
    const float* scale = file.tensor(name + ".scale", {out}).values;
    bool fits = layer.volume * layer.in <= MOST_PRODUCTS;
    for (int64_t o = 0; o < out; ++o)
        fits &= bias[o] >= -MOST_BIAS && bias[o] <= MOST_BIAS && std::isfinite(scale[o]) && scale[o] >= 0;
    require(fits, "has a layer in 8 bits whose numbers are too large");
    Layer::Int8 result{Int8Weights(weights, layer.volume, layer.in, out), widened(bias, out, width),
                       widened(scale, out, width), Scratch<float>(width)};
    for (int64_t o = 0; o < width; ++o) {
        result.factor[o] = layer.step > 0 ? result.scale[o] / layer.step : 0;
        require(std::isfinite(result.factor[o]), "has a layer in 8 bits whose numbers are too large");
    }
    return result;
}

SumRows sums_of(Target y) { return {reinterpret_cast<int32_t*>(y.values), y.stride}; }

}  // namespace

Layer Layer::read(const ModelFile& file, const std::string& name, int64_t volume, const std::vector<Channels>& parts,
                  bool relu) {
    int64_t channels = 0;
    Layer layer;
    for (const auto& [count, width] : parts) channels += count, layer.in += width;
    const Type type = file.has(name + ".weight", Type::INT8) ? Type::INT8 : Type::FLOAT32;
    const std::vector<int64_t> shape =
        volume == 1 ? std::vector<int64_t>{channels, -1} : std::vector{volume, channels, int64_t(-1)};
    const Tensor& weight = file.tensor(name + ".weight", shape, type);
    layer.volume = volume, layer.out = weight.shape.back(), layer.width = padded(layer.out), layer.relu = relu;
    layer.step = read_step(file, name);
    require(relu || layer.step == 0, "has codes of a result that has no ReLU");
    if (type == Type::INT8) {
        layer.int8 = read_int8(file, name, layer, with_gaps(weight.bytes, volume, parts, layer.out).data());
        return layer;
    }
    const std::vector<float> values = with_gaps(weight.values, volume, parts, layer.out);
    layer.bias = widened(file.tensor(name + ".bias", {layer.out}).values, layer.out, layer.width);
    layer.weights = Scratch<float>(volume * layer.in * layer.width);
    for (int64_t k = 0; k < volume; ++k)
        pack_panels({values.data(), volume, layer.in, layer.out, false}, k,
                    layer.weights.data() + k * layer.in * layer.width);
    return layer;
}

float read_step(const ModelFile& file, const std::string& name) {
    if (!file.has(name + ".step")) return 0;
    const float step = file.tensor(name + ".step", {1}).values[0];
    require(std::isfinite(1 / step) && step > 0, "has a step of codes that is no positive number");
    return step;
}

void Layer::check_reads(float step_before) const {
    require(!int8 || step_before > 0, "has a layer in 8 bits that reads a result without codes");
}

void Layer::begin(Target y, int64_t count) const {
    const void* row = int8 ? static_cast<const void*>(int8->bias.data()) : bias.data();
    for (int64_t r = 0; r < count; ++r) std::memcpy(y.values + r * y.stride, row, width * sizeof(float));
}

void Layer::add(int64_t k, Pairs pairs, Source x, Target y, int64_t first_row) const {
    if (int8)
        int8->weights.add_products(k, pairs, {x.codes, x.stride}, sums_of(y), first_row);
    else
        add_products(pairs, {x.values, x.stride}, panels(k), {y.values, y.stride}, first_row);
}

void Layer::finish(Target y, int64_t count) const {
    if (int8) {
        if (y.codes != nullptr) to_codes(sums_of(y), count, width, int8->factor.data(), y.codes, y.stride);
        if (y.floats) to_values(sums_of(y), count, width, int8->scale.data(), relu, y.values, y.stride);
        return;
    }
    for (int64_t r = 0; relu && r < count; ++r) {
        float* row = y.values + r * y.stride;
        for (int64_t c = 0; c < width; c += LANES) {
            const Vector v = load(row + c);
            store(row + c, v < 0 ? Vector{} : v);  // NaN stays
        }
    }
    if (y.codes != nullptr) write_codes(y.values, y.stride, count, width, step, y.codes);
}

void write_codes(const float* values, int64_t stride, int64_t count, int64_t width, float step, uint8_t* codes) {
    if (!quantise(values, stride, count, width, step, codes, stride)) throw NotFinite();
}

void convolve(const Layer& layer, Source x, const PairSlots& pairs, Target y, int64_t first_row, int64_t count) {
    layer.begin(y, count);
    for (int64_t k = 0; k < layer.volume; ++k)
        if (pairs[k].count > 0) layer.add(k, pairs[k], x, y, first_row);
    layer.finish(y, count);
}

}  // namespace mink_pd::engine
