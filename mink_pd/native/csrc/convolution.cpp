// Sparse convolution over pair lists: products forward and for the input's gradient, and the weights' gradient.
//
// Output-stationary: a tile of output rows stays in cache while all offsets are added to it, and no two threads ever
// write the same row. Sums run over offsets, then channels (products), or over pairs in segments of fixed length
// (weights), so results are the same bits at every run and any number of threads.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <vector>

#include "bf16.h"
#include "blocks.h"
#include "check.h"
#include "maps.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t CACHED_WEIGHTS = 4096;    // floats: 16 KB, half a first-level cache
constexpr int64_t CACHED_SUMS = 65536;      // floats: 256 KB of a second-level cache
constexpr int64_t RUN = 128;                // pairs of an offset that a tile should have
constexpr int64_t PAIRS_AT_ONCE = 128;      // whose rows stay in cache while the blocks of a weight pass over them
constexpr int64_t SHORTEST_SEGMENT = 4096;  // pairs that one task sums up
constexpr int64_t MOST_CHANNELS = 128;      // input channels of a weight that one task computes

// Weights (K, in, out), or (K, out, in) transposed, as panels: for each offset and panel (in, panel's width), padded.
at::Tensor pack(const at::Tensor& weights, bool transposed) {
    const int64_t volume = weights.size(0), width = padded(weights.size(transposed ? 1 : 2));
    const int64_t in = weights.size(transposed ? 2 : 1), out = weights.size(transposed ? 1 : 2);
    const int64_t in_step = transposed ? 1 : out, out_step = transposed ? in : 1;
    if (!transposed && width == out && width <= PANEL) return weights;
    at::Tensor packed = at::empty({volume, in, width}, weights.options());
    const float* from = weights.const_data_ptr<float>();
    float* to = packed.mutable_data_ptr<float>();
    for_each_task(volume, [&](int64_t k) {
        for_each_panel(width, [&](int64_t first, int64_t vectors) {
            const int64_t wide = vectors * LANES, filled = std::min(wide, out - first);
            float* panel = to + (k * width + first) * in;
            const float* source = from + k * in * out + first * out_step;
            for (int64_t c = 0; c < in; ++c, panel += wide) {
                for (int64_t j = 0; j < filled; ++j) panel[j] = source[c * in_step + j * out_step];
                std::fill(panel + filled, panel + wide, 0.f);
            }
        });
    });
    return packed;
}

// y[target] += x[source] w for the pairs of one offset and tile; y points at the tile's first row. As many panels at a
// time as the cache holds weights of; of very many input channels, some at a time.
void add_products(Pairs pairs, const float* x, int64_t in, const float* w, float* y, int64_t width, int64_t first_row) {
    const auto add = [&](int64_t first, int64_t vectors, int64_t panels) {
        const int64_t wide = vectors * LANES, step = std::min(in, CACHED_WEIGHTS / wide);
        for (int64_t c = 0; c < in; c += step) {
            const Product product{x + c, in, std::min(step, in - c), w + first * in + c * wide, panels,
                                  y + first, width, first_row};
            with_vectors(vectors, [&](auto v) { multiply_groups<v()>(pairs, product); });
        }
    };
    const int64_t most = std::max<int64_t>(1, CACHED_WEIGHTS / (in * PANEL)), full = width / PANEL;
    for (int64_t panel = 0; panel < full; panel += most) add(panel * PANEL, MAX_VECTORS, std::min(most, full - panel));
    if (full * PANEL < width) add(full * PANEL, (width - full * PANEL) / LANES, 1);
}

// What is done to finished rows: y * scale + shift, then max(y, 0).
struct Epilogue {
    const float *scale, *shift;
    bool relu;

    void operator()(const float* from, float* to, int64_t channels) const {
        if (scale == nullptr && shift == nullptr && !relu) {
            std::memcpy(to, from, channels * sizeof(float));
            return;
        }
        for (int64_t c = 0; c < channels; ++c) {
            float value = from[c];
            if (scale != nullptr) value *= scale[c];
            if (shift != nullptr) value += shift[c];
            to[c] = relu && value < 0 ? 0 : value;  // NaN stays
        }
    }
};

// How many stretches of the table to join: long runs of pairs per offset, but the tile's sums in cache and enough
// tiles for all threads.
int64_t stretches(int64_t rows, int64_t pairs, int64_t volume, int64_t width) {
    const int64_t wanted = RUN * rows * volume / std::max<int64_t>(pairs, 1);
    const int64_t most = std::min(CACHED_SUMS / width, rows / (4 * at::get_num_threads()));
    return std::max<int64_t>(1, std::min(wanted, most) / TILE);
}

// Where the tasks of `tiles` tiles begin, `joined` in each but towards the end: there they become shorter, for a thread
// waits at last for another one's task.
std::vector<int64_t> begins_of(int64_t tiles, int64_t joined) {
    std::vector<int64_t> begins{0};
    while (begins.back() < tiles) {
        const int64_t left = tiles - begins.back(), share = left / (2 * at::get_num_threads());
        begins.push_back(begins.back() + std::min(left, std::clamp(share, (joined + 3) / 4, joined)));
    }
    return begins;
}

void check_pairs(const at::Tensor& source, const at::Tensor& target, const at::Tensor& table) {
    check(source, at::kInt, "source");
    check(target, at::kInt, "target");
    check(table, at::kInt, "table");
    TORCH_CHECK(source.numel() == target.numel(), "source and target must be equally long");
}

// Products of pairs with float32 weights (K, in, width) as pack makes them.
struct Float32 {
    const float *x, *w;
    int64_t in, width;

    void operator()(Pairs pairs, int64_t offset, float* y, int64_t first_row) const {
        add_products(pairs, x, in, w + offset * in * width, y, width, first_row);
    }
};

struct Map {
    const at::Tensor &source, &target, &table;
    int64_t rows;
    bool mirrored;  // the offset's negative, which turns pairs of coordinates onto themselves into those of the inverse
};

// (rows, out): the sum of what add(pairs, offset, y, first row) adds to a tile for every offset, then the epilogue.
// worker() makes each thread its own add.
template <typename Worker>
at::Tensor accumulate(const Map& map, int64_t out, const at::TensorOptions& options, const Epilogue& finish,
                      Worker&& worker) {
    const int64_t width = padded(out), volume = map.table.size(1), tiles = map.table.size(0) - 1, rows = map.rows;
    at::Tensor result = at::empty({rows, out}, options);
    float* to = result.mutable_data_ptr<float>();
    const int32_t *source = map.source.const_data_ptr<int32_t>(), *target = map.target.const_data_ptr<int32_t>();
    const int32_t* start = map.table.const_data_ptr<int32_t>();
    const int64_t joined = stretches(rows, map.source.numel(), volume, width);
    const std::vector<int64_t> begins = begins_of(tiles, joined);
    share_tasks(int64_t(begins.size()) - 1, [&](auto& take) {
        std::vector<float> sums(joined * TILE * width);
        auto add = worker();
        for (int64_t task; (task = take()) >= 0;) {
            const int64_t begin = begins[task], end = begins[task + 1];
            const int64_t first = begin * TILE, count = std::min(rows, end * TILE) - first;
            std::fill(sums.begin(), sums.begin() + count * width, 0.f);
            for (int64_t k = 0; k < volume; ++k) {
                const int32_t at = start[begin * volume + k], pairs = start[end * volume + k] - at;
                if (pairs > 0)
                    add({source + at, target + at, pairs}, map.mirrored ? volume - 1 - k : k, sums.data(), first);
            }
            for (int64_t r = 0; r < count; ++r) finish(sums.data() + r * width, to + (first + r) * out, out);
        }
    });
    return result;
}

bool multiplies_bf16() {
#ifdef MINK_PD_BF16
    return bf16::permitted();
#else
    return false;
#endif
}

// (rows, out): for every pair, y[target] += x[source] weights[offset], then the epilogue. With `rounded` in bfloat16
// (bf16.h), which must be there.
at::Tensor products(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& source, const at::Tensor& target,
                    const at::Tensor& table, int64_t rows, bool transposed, bool mirrored, const std::optional<at::Tensor>& scale,
                    const std::optional<at::Tensor>& shift, bool relu, bool rounded) {
    check(x, at::kFloat, "features");
    check(weights, at::kFloat, "weights");
    check_pairs(source, target, table);
    const int64_t in = x.size(1), out = weights.size(transposed ? 1 : 2), width = padded(out);
    TORCH_CHECK(weights.size(transposed ? 2 : 1) == in && table.size(1) == weights.size(0), "weights do not fit");
    for (const auto* vector : {&scale, &shift})
        if (vector->has_value()) {
            check(**vector, at::kFloat, "scale and shift");
            TORCH_CHECK((*vector)->numel() == out, "scale and shift must have one value a channel");
        }
    const Epilogue finish{scale ? scale->const_data_ptr<float>() : nullptr,
                          shift ? shift->const_data_ptr<float>() : nullptr, relu};
    const Map map{source, target, table, rows, mirrored};
    if (rounded) {
        TORCH_CHECK(multiplies_bf16() && !transposed, "no products in bfloat16 here");
#ifdef MINK_PD_BF16
        const at::Tensor halves = bf16::round_rows(x), tiles = bf16::round_weights(weights);
        return accumulate(map, out, x.options(), finish, [&] { return bf16::Worker(halves, tiles, in, width); });
#endif
    }
    const at::Tensor packed = pack(weights, transposed);
    const Float32 add{x.const_data_ptr<float>(), packed.const_data_ptr<float>(), in, width};
    return accumulate(map, out, x.options(), finish, [&] { return add; });
}

// sum over pairs of x[source][channels]^T y[target] -> sums (channels, width)
void add_outer(Pairs pairs, const float* x, int64_t in, int64_t channels, const float* y, int64_t width, float* sums) {
    for (int64_t p = 0; p < pairs.count; p += PAIRS_AT_ONCE) {
        const Pairs some{pairs.source + p, pairs.target + p, std::min(PAIRS_AT_ONCE, pairs.count - p)};
        for_each_panel(width, [&](int64_t first, int64_t vectors) {
            with_vectors(vectors, [&](auto v) {
                outer_groups<v()>(channels, [&](int64_t c, int64_t, auto block) {
                    block(some, x + c, in, y + first, width, sums + c * width + first, width);
                });
            });
        });
    }
}

// (rows, width) of a matrix (rows, channels), so that whole vectors can be read
at::Tensor pad_channels(const at::Tensor& y) {
    const int64_t channels = y.size(1), width = padded(channels);
    if (width == channels) return y;
    at::Tensor result = at::zeros({y.size(0), width}, y.options());
    result.narrow(1, 0, channels).copy_(y);
    return result;
}

struct OuterTask {
    int64_t offset, segment, channel;
};

// (K, in, out): for every offset the sum over its pairs of x[source]^T y[target].
at::Tensor outer_products(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& source,
                          const at::Tensor& target, const at::Tensor& table) {
    check(x, at::kFloat, "features");
    check(gradient, at::kFloat, "gradient");
    check_pairs(source, target, table);
    const at::Tensor y = pad_channels(gradient);
    const int64_t volume = table.size(1), last = table.size(0) - 1;
    const int64_t in = x.size(1), out = gradient.size(1), width = y.size(1);
    const int32_t* start = table.const_data_ptr<int32_t>();
    const auto pairs_of = [&](int64_t k) -> int64_t { return start[last * volume + k] - start[k]; };
    // The length of a segment must not depend on the threads, or results would; long ones bound the memory for parts.
    const int64_t length = std::max(SHORTEST_SEGMENT, in * out / 2);
    const auto segments_of = [&](int64_t k) { return std::max<int64_t>(1, (pairs_of(k) + length - 1) / length); };
    int64_t segments = 1, units = 0;
    for (int64_t k = 0; k < volume; ++k) {
        segments = std::max(segments, segments_of(k));
        units += segments_of(k);
    }
    const int64_t cuts = std::max((4 * at::get_num_threads() + units - 1) / units,
                                  (in + MOST_CHANNELS - 1) / MOST_CHANNELS);
    const int64_t most = std::max<int64_t>(8, (in + cuts - 1) / cuts);  // channels a task
    std::vector<OuterTask> tasks;
    for (int64_t k = 0; k < volume; ++k)
        for (int64_t s = 0; s < segments_of(k); ++s)
            for (int64_t c = 0; c < in; c += most) tasks.push_back({k, s, c});
    at::Tensor parts = at::empty({segments, volume, in, out}, x.options());
    float* to = parts.mutable_data_ptr<float>();
    const float *from = x.const_data_ptr<float>(), *gradients = y.const_data_ptr<float>();
    const int32_t *sources = source.const_data_ptr<int32_t>(), *targets = target.const_data_ptr<int32_t>();
    share_tasks(int64_t(tasks.size()), [&](auto& take) {
        std::vector<float> sums(most * width);
        for (int64_t t; (t = take()) >= 0;) {
            const OuterTask task = tasks[t];
            const int64_t channels = std::min(most, in - task.channel);
            const int64_t at = start[task.offset] + task.segment * length;
            const int64_t count = std::min(length, pairs_of(task.offset) - task.segment * length);
            std::fill(sums.begin(), sums.end(), 0.f);
            add_outer({sources + at, targets + at, count}, from + task.channel, in, channels, gradients, width,
                      sums.data());
            float* part = to + ((task.segment * volume + task.offset) * in + task.channel) * out;
            for (int64_t c = 0; c < channels; ++c)
                std::memcpy(part + c * out, sums.data() + c * width, out * sizeof(float));
        }
    });
    for_each_task(volume, [&](int64_t k) {
        float* sum = to + k * in * out;
        for (int64_t s = 1; s < segments_of(k); ++s) {
            const float* part = to + (s * volume + k) * in * out;
            for (int64_t i = 0; i < in * out; ++i) sum[i] += part[i];
        }
    });
    return segments == 1 ? parts.squeeze(0) : parts[0].clone();
}

}  // namespace
}  // namespace mink_pd

TORCH_LIBRARY(mink_pd, library) {
    library.def("neighbours(Tensor fine, Tensor coarse, Tensor offsets) -> (Tensor, Tensor, Tensor)",
                &mink_pd::neighbours);
    library.def("inverse(Tensor(a) source, Tensor(b) target, Tensor table, int rows) "
                "-> (Tensor(b), Tensor(a), Tensor)",
                &mink_pd::inverse);
    library.def("grow(Tensor coordinates, Tensor offsets, int[] step) -> Tensor", &mink_pd::grow);
    library.def("strided(Tensor coordinates, int[] step) -> Tensor", &mink_pd::strided);
    library.def("products(Tensor x, Tensor weights, Tensor source, Tensor target, Tensor table, int rows, "
                "bool transposed, bool mirrored, Tensor? scale, Tensor? shift, bool relu, bool rounded) -> Tensor",
                &mink_pd::products);
    library.def("multiplies_bf16() -> bool", &mink_pd::multiplies_bf16);
    library.def("outer_products(Tensor x, Tensor gradient, Tensor source, Tensor target, Tensor table) -> Tensor",
                &mink_pd::outer_products);
}
