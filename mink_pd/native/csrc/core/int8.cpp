#include "int8.h"

#include <algorithm>
#include <array>
#include <utility>

#include "int8_dot.h"

namespace mink_pd {
namespace {

using namespace int8;

constexpr int64_t CACHED_WEIGHTS = 16384;  // bytes: half a first-level cache

typedef uint8_t Codes __attribute__((vector_size(LANES)));

Sums load_sums(const int32_t* from) {
    Sums v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

// x[source] times some panels of an offset's weights for y[target - first_row].
struct Int8Product {
    CodeRows x;
    const Int8Weights::Panel* panels;
    int64_t panel_count;
    const int8_t* weights;
    const int32_t *places, *centres;
    int32_t* y;
    int64_t width, first_row;
};

// y[target] += x[source] w, for R pairs at a time, by panels of V vectors, as `multiply` of blocks.h does it.
template <int R, int V>
void multiply_codes(const int32_t* source, const int32_t* target, int64_t groups, const Int8Product& p) {
    for (; groups > 0; --groups, source += R, target += R) {
        const uint8_t* row[R];
        int32_t* to[R];
        UNROLL for (int r = 0; r < R; ++r) {
            row[r] = p.x.codes + source[r] * p.x.stride;
            to[r] = p.y + (target[r] - p.first_row) * p.width;
        }
        for (int64_t panel = 0; panel < p.panel_count; ++panel) {
            const auto [weights, places, steps] = p.panels[panel];
            const int8_t* w = p.weights + weights;
            Sums sum[R][V];
            UNROLL for (int r = 0; r < R; ++r) {
                UNROLL for (int v = 0; v < V; ++v) {
                    sum[r][v] = load_sums(to[r] + v * LANES);
                    if (CENTRED) sum[r][v] += load_sums(p.centres + (panel * V + v) * LANES);
                }
            }
            int64_t step = 0;
            do {
                const int64_t place = HALVES ? p.places[places + step] : step * DEPTH;
                Bytes weight[V];
                UNROLL for (int v = 0; v < V; ++v) {
                    std::memcpy(&weight[v], w + v * LANES * DEPTH, sizeof(Bytes));
                    hold(weight[v]);
                }
                UNROLL for (int r = 0; r < R; ++r) {
                    const Sums x = spread_codes(row[r] + place);
                    UNROLL for (int v = 0; v < V; ++v)
                        sum[r][v] = dot(sum[r][v], x, weight[v]);
                }
                w += V * LANES * DEPTH;
            } while (++step < steps);
            UNROLL for (int r = 0; r < R; ++r) {
                UNROLL for (int v = 0; v < V; ++v)
                    std::memcpy(to[r] + v * LANES, &sum[r][v], sizeof(Sums));
                to[r] += V * LANES;
            }
        }
    }
}

template <int V, int... R>
constexpr auto codes_table(std::integer_sequence<int, R...>) {
    return std::array{&multiply_codes<R + 1, V>...};
}

template <int V>
void multiply_code_groups(Pairs pairs, const Int8Product& product) {
    static constexpr auto table = codes_table<V>(std::make_integer_sequence<int, rows_of(V)>());
    for_even_groups(pairs, rows_of(V), [&](const int32_t* source, const int32_t* target, int64_t groups, int64_t rows) {
        table[rows - 1](source, target, groups, product);
    });
}

// Whether sums of two products could exceed 16 bits: inputs 2 i and 2 i + 1 of four.
bool saturates(const int8_t* four) {
    for (int i = 0; i < DEPTH; i += 2) {
        const int a = four[i], b = four[i + 1];
        if (std::max(a, 0) + std::max(b, 0) > 128 || std::min(a, 0) + std::min(b, 0) < -128) return true;
    }
    return false;
}

// sum * factor -> a code. The largest float32 below which all have halves is added, which rounds the last bits off.
Codes to_code(Vector value) {
    constexpr float ROUNDING = 12582912;  // 1.5 * 2^23
    const Vector least{}, most = Vector{} + 255.f;
    value = value > least ? value : least;
    value = value < most ? value : most;
    value += ROUNDING;
    Sums bits;
    std::memcpy(&bits, &value, sizeof bits);
    return __builtin_convertvector(bits & 255, Codes);
}

void store_codes(uint8_t* to, Codes codes) { std::memcpy(to, &codes, sizeof codes); }

}  // namespace

const char* int8_instructions() { return INSTRUCTIONS; }

Int8Weights::Int8Weights(const int8_t* values, int64_t volume, int64_t in, int64_t out)
    : in_(in), width_(padded(out)), centres_(CENTRED ? volume * width_ : 0) {
    std::vector<int8_t> packed;
    for (int64_t k = 0; k < volume; ++k) {
        const int8_t* own = values + k * in * out;
        for_each_panel(width_, [&](int64_t first, int64_t vectors) { pack_panel(own, out, first, vectors, packed); });
        for (int64_t o = 0; CENTRED && o < width_; ++o) {
            int32_t sum = 0;
            for (int64_t c = 0; o < out && c < in; ++c) sum += own[c * out + o];
            centres_[k * width_ + o] = 128 * sum;
        }
    }
    weights_ = Scratch<int8_t>(int64_t(packed.size()));  // aligned
    std::copy(packed.begin(), packed.end(), weights_.data());
}

// Steps of four input channels. Where a step could saturate, two take its place, with half the weights each.
void Int8Weights::pack_panel(const int8_t* values, int64_t out, int64_t first, int64_t vectors,
                             std::vector<int8_t>& packed) {
    const int64_t wide = vectors * LANES;
    panels_.push_back({int64_t(packed.size()), int64_t(places_.size()), 0});
    std::vector<int8_t> step(wide * DEPTH), half(wide * DEPTH);
    const auto add = [&](const std::vector<int8_t>& weights, int64_t place) {
        packed.insert(packed.end(), weights.begin(), weights.end());
        places_.push_back(int32_t(place));
        ++panels_.back().steps;
    };
    for (int64_t c = 0; c < in_; c += DEPTH) {
        bool divided = false;
        for (int64_t j = 0; j < wide; ++j) {
            for (int64_t i = 0; i < DEPTH; ++i)
                step[j * DEPTH + i] = c + i < in_ && first + j < out ? values[(c + i) * out + first + j] : int8_t(0);
            divided |= HALVES && saturates(&step[j * DEPTH]);
        }
        if (divided) {
            for (size_t i = 0; i < step.size(); ++i) half[i] = int8_t(step[i] / 2), step[i] = int8_t(step[i] - half[i]);
            add(half, c);
        }
        add(step, c);
    }
}

// As many panels at a time as the cache holds weights of.
void Int8Weights::add_products(int64_t k, Pairs pairs, CodeRows x, SumRows y, int64_t first_row) const {
    const int64_t full = width_ / PANEL, most = std::max<int64_t>(1, CACHED_WEIGHTS / (in_ * PANEL));
    const int64_t panels_of_offset = (width_ + PANEL - 1) / PANEL;
    const auto add = [&](int64_t panel, int64_t vectors, int64_t count) {
        const Int8Product product{x,
                                  panels_.data() + k * panels_of_offset + panel,
                                  count,
                                  weights_.data(),
                                  places_.data(),
                                  centres_.data() + (CENTRED ? k * width_ + panel * PANEL : 0),
                                  y.sums + panel * PANEL,
                                  y.stride,
                                  first_row};
        with_vectors(vectors, [&](auto v) { multiply_code_groups<v()>(pairs, product); });
    };
    for (int64_t panel = 0; panel < full; panel += most) add(panel, MAX_VECTORS, std::min(most, full - panel));
    if (full * PANEL < width_) add(full, (width_ - full * PANEL) / LANES, 1);
}

void to_codes(SumRows sums, int64_t count, int64_t width, const float* factors, uint8_t* codes, int64_t stride) {
    for (int64_t r = 0; r < count; ++r, sums.sums += sums.stride, codes += stride)
        for (int64_t c = 0; c < width; c += LANES)
            store_codes(codes + c,
                        to_code(__builtin_convertvector(load_sums(sums.sums + c), Vector) * load(factors + c)));
}

void to_values(SumRows sums, int64_t count, int64_t width, const float* factors, bool relu, float* values,
               int64_t stride) {
    const Vector least = Vector{} - (relu ? 0.f : __builtin_inff());
    for (int64_t r = 0; r < count; ++r, sums.sums += sums.stride, values += stride)
        for (int64_t c = 0; c < width; c += LANES) {
            const Vector value = __builtin_convertvector(load_sums(sums.sums + c), Vector) * load(factors + c);
            store(values + c, value > least ? value : least);
        }
}

bool quantise(const float* values, int64_t values_stride, int64_t count, int64_t width, float step, uint8_t* codes,
              int64_t codes_stride) {
    const float inverse = 1 / step;
    Vector check{};  // sums of products with 0
    for (int64_t r = 0; r < count; ++r, values += values_stride, codes += codes_stride)
        for (int64_t c = 0; c < width; c += LANES) {
            const Vector value = load(values + c);
            check += value * 0.f;
            store_codes(codes + c, to_code(value * inverse));
        }
    bool finite = true;
    for (int lane = 0; lane < LANES; ++lane) finite &= check[lane] == 0;
    return finite;
}

}  // namespace mink_pd
