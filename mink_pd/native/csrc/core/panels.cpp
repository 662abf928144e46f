#include "panels.h"

#include <algorithm>

namespace mink_pd {

constexpr int64_t CACHED_WEIGHTS = 4096;  // floats: 16 KB, half a first-level cache

bool needs_packing(const Weights& weights) {
    return weights.transposed || padded(weights.out) != weights.out || weights.out > PANEL;
}

void pack_panels(const Weights& weights, int64_t k, float* to) {
    const int64_t in = weights.in, out = weights.out;
    const int64_t in_step = weights.transposed ? 1 : out, out_step = weights.transposed ? in : 1;
    for_each_panel(padded(out), [&](int64_t first, int64_t vectors) {
        const int64_t wide = vectors * LANES, filled = std::min(wide, out - first);
        float* panel = to + first * in;
        const float* source = weights.values + k * in * out + first * out_step;
        for (int64_t c = 0; c < in; ++c, panel += wide) {
            for (int64_t j = 0; j < filled; ++j) panel[j] = source[c * in_step + j * out_step];
            std::fill(panel + filled, panel + wide, 0.f);
        }
    });
}

// As many panels at a time as the cache holds weights of; of very many input channels, some at a time.
void add_products(Pairs pairs, SourceRows x, Panels w, TargetRows y, int64_t first_row) {
    const int64_t in = w.in;
    const auto add = [&](int64_t first, int64_t vectors, int64_t panels) {
        const int64_t wide = vectors * LANES, step = std::min(in, CACHED_WEIGHTS / wide);
        for (int64_t c = 0; c < in; c += step) {
            const Product product{
                x.values + c,     x.stride, in,       std::min(step, in - c), w.values + first * in + c * wide, panels,
                y.values + first, y.stride, first_row};
            with_vectors(vectors, [&](auto v) { multiply_groups<v()>(pairs, product); });
        }
    };
    const int64_t most = std::max<int64_t>(1, CACHED_WEIGHTS / (in * PANEL)), full = w.width / PANEL;
    for (int64_t panel = 0; panel < full; panel += most) add(panel * PANEL, MAX_VECTORS, std::min(most, full - panel));
    if (full * PANEL < w.width) add(full * PANEL, (w.width - full * PANEL) / LANES, 1);
}

}  // namespace mink_pd
