// Sparse convolution over pair lists: products forward and for the input's gradient, and the weights' gradient.
//
// Output-stationary: a tile of output rows stays in cache while all offsets are added to it, and no two threads ever
// write the same row. Sums run over offsets, then channels (products), or over pairs in segments of fixed length
// (weights), so results are the same bits at every run and any number of threads.
#include "convolution.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "bf16_dot.h"
#include "bf16_tiles.h"
#include "blocks.h"
#include "error.h"
#include "panels.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t CACHED_SUMS = 65536;      // floats: 256 KB of a second-level cache
constexpr int64_t RUN = 128;                // pairs of an offset that a tile should have
constexpr int64_t PAIRS_AT_ONCE = 128;      // whose rows stay in cache while the blocks of a weight pass over them
constexpr int64_t SHORTEST_SEGMENT = 4096;  // pairs that one task sums up
constexpr int64_t MOST_CHANNELS = 128;      // input channels of a weight that one task computes

// y * scale + shift, then max(y, 0), of one finished row, which may stay where it is.
template <bool STREAM>
void finish_row(const Epilogue& epilogue, const float* from, float* to, int64_t channels) {
    const auto [scale, shift, relu] = epilogue;
    if (from == to && scale == nullptr && shift == nullptr && !relu) return;
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        Vector value = load(from + c);
        if (scale != nullptr) value *= load(scale + c);
        if (shift != nullptr) value += load(shift + c);
        put<STREAM>(to + c, relu && value < 0.f ? Vector{} : value);  // NaN stays
    }
    for (; c < channels; ++c) {
        float value = from[c];
        if (scale != nullptr) value *= scale[c];
        if (shift != nullptr) value += shift[c];
        to[c] = relu && value < 0 ? 0 : value;
    }
}

// How many stretches of the table to join: long runs of pairs per offset, but the tile's sums in cache and enough
// tiles for all threads.
int64_t stretches(int64_t threads, int64_t rows, int64_t pairs, int64_t volume, int64_t width) {
    const int64_t wanted = RUN * rows * volume / std::max<int64_t>(pairs, 1);
    const int64_t most = std::min(CACHED_SUMS / width, rows / (4 * threads));
    return std::max<int64_t>(1, std::min(wanted, most) / TILE);
}

// Where the tasks of `tiles` tiles begin, `joined` in each but towards the end: there they become shorter, for a thread
// waits at last for another one's task.
std::vector<int64_t> begins_of(int64_t threads, int64_t tiles, int64_t joined) {
    std::vector<int64_t> begins{0};
    while (begins.back() < tiles) {
        const int64_t left = tiles - begins.back(), share = left / (2 * threads);
        begins.push_back(begins.back() + std::min(left, std::clamp(share, (joined + 3) / 4, joined)));
    }
    return begins;
}

// Products of pairs with float32 weights (volume, in, width), packed as panels.
struct Float32 {
    const float *x, *w;
    int64_t in, width;

    void operator()(Pairs pairs, int64_t offset, TargetRows y, int64_t first_row) const {
        add_products(pairs, {x, in}, {w + offset * in * width, in, width}, y, first_row);
    }
};

// (rows, out): the sum of what add(pairs, offset, rows y, first row) adds to a tile for every offset, then the
// epilogue. worker() makes each thread its own add. What the lists point at is checked where it is in the cache anyway.
template <typename Worker>
void accumulate(Pool& pool, const Map& map, int64_t sources, int64_t out, const Epilogue& epilogue, ResultRows to,
                Worker&& worker) {
    const PairList& list = map.pairs;
    const int64_t width = padded(out), rows = map.rows;
    const int64_t joined = stretches(pool.threads(), rows, list.pairs, list.volume, width);
    const std::vector<int64_t> begins = begins_of(pool.threads(), list.tiles, joined);
    std::atomic<bool> inside{true};
    const auto is_inside = [&](int64_t at, int64_t pairs, int64_t first, int64_t count) {
        return at >= 0 && pairs >= 0 && at + pairs <= list.pairs && all_within(list.source + at, pairs, 0, sources) &&
               all_within(list.target + at, pairs, first, first + count);
    };
    // Sums are formed in a place of their own that stays in the cache, or where they are to be.
    const bool streams = worth_streaming(to.values, to.stride, rows, out), fits = width == out && !streams;
    share_tasks(pool, int64_t(begins.size()) - 1, [&](auto& take) {
        std::vector<float> sums(fits ? 0 : joined * TILE * width);
        auto add = worker();
        for (int64_t task; (task = take()) >= 0;) {
            const int64_t begin = begins[task], end = begins[task + 1];
            const int64_t first = begin * TILE, count = std::min(rows, end * TILE) - first;
            float* goal = to.values + first * to.stride;
            const TargetRows y = fits ? TargetRows{goal, to.stride} : TargetRows{sums.data(), width};
            for (int64_t r = 0; r < count; ++r) std::fill_n(y.values + r * y.stride, width, 0.f);
            for (int64_t k = 0; k < list.volume; ++k) {
                const int64_t at = list.table[begin * list.volume + k];
                const int64_t pairs = list.table[end * list.volume + k] - at;
                if (!is_inside(at, pairs, first, count)) {
                    inside.store(false, std::memory_order_relaxed);
                    return;
                }
                if (pairs > 0)
                    add({list.source + at, list.target + at, pairs}, map.mirrored ? list.volume - 1 - k : k, y, first);
            }
            const auto finish = streams ? finish_row<true> : finish_row<false>;
            for (int64_t r = 0; r < count; ++r) finish(epilogue, y.values + r * y.stride, goal + r * to.stride, out);
            fence();
        }
    });
    require(inside, "a pair of a kernel map is not one of the rows");
}

void check_map(const Map& map, const Weights& weights) {
    require(map.rows >= 0 && map.pairs.tiles == tiles_of(map.rows), "the table of a kernel map does not fit its rows");
    require(map.pairs.volume == weights.volume, "weights and kernel map differ in the number of offsets");
}

// Without input channels or pairs: the epilogue of zeros.
void finish_zeros(const Epilogue& epilogue, int64_t rows, int64_t out, ResultRows to) {
    const std::vector<float> zeros(out, 0.f);
    for (int64_t r = 0; r < rows; ++r) finish_row<false>(epilogue, zeros.data(), to.values + r * to.stride, out);
}

}  // namespace

bool multiplies_bf16() {
#ifdef MINK_PD_BF16
    return true;
#else
    return false;
#endif
}

void products(Pool& pool, const Features& x, const Weights& weights, const Map& map, const Epilogue& epilogue,
              bool rounded, ResultRows result) {
    check_map(map, weights);
    require(!rounded || (multiplies_bf16() && !weights.transposed), "no products in bfloat16 here");
    const int64_t in = weights.in, out = weights.out, width = padded(out);
    if (map.rows == 0 || out == 0) return;
    if (in == 0) return finish_zeros(epilogue, map.rows, out, result);
#ifdef MINK_PD_BF16
    if (rounded) {
        const auto halves = bf16::round_rows(pool, x.values, x.rows, in);
        const auto tiles = bf16::round_weights(pool, weights.values, weights.volume, in, out);
#ifdef MINK_PD_BF16_TILES
        if (bf16::permitted())
            return accumulate(pool, map, x.rows, out, epilogue, result,
                              [&] { return bf16::Tiles(halves.data(), tiles.data(), in, width); });
#endif
        return accumulate(pool, map, x.rows, out, epilogue, result,
                          [&] { return bf16::Dots(halves.data(), tiles.data(), in, width); });
    }
#endif
    Scratch<float> packed(needs_packing(weights) ? weights.volume * in * width : 0);
    if (needs_packing(weights))
        for_each_task(pool, weights.volume,
                      [&](int64_t k) { pack_panels(weights, k, packed.data() + k * in * width); });
    const Float32 add{x.values, needs_packing(weights) ? packed.data() : weights.values, in, width};
    accumulate(pool, map, x.rows, out, epilogue, result, [&] { return add; });
}

namespace {

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
Scratch<float> pad_channels(Pool& pool, const Features& y) {
    const int64_t width = padded(y.channels);
    Scratch<float> padded(y.rows * width);
    split_tasks(pool, y.rows, [&](int64_t first, int64_t last) {
        for (int64_t r = first; r < last; ++r) {
            float* to = std::copy_n(y.values + r * y.channels, y.channels, padded.data() + r * width);
            std::fill(to, padded.data() + (r + 1) * width, 0.f);
        }
    });
    return padded;
}

struct OuterTask {
    int64_t offset, segment, channel;
};

// How the sums of each offset's pairs are cut.
struct OuterCuts {
    int64_t length;    // pairs of a segment
    int64_t segments;  // of the longest offset
    int64_t channels;  // of a task
    std::vector<OuterTask> tasks;
    std::vector<int64_t> segments_of;  // each offset

    OuterCuts(int64_t threads, const PairList& list, int64_t in, int64_t out)
        // The length of a segment must not depend on the threads, or results would; long ones bound the memory for
        // parts.
        : length(std::max(SHORTEST_SEGMENT, in * out / 2)), segments(1) {
        int64_t units = 0;
        for (int64_t k = 0; k < list.volume; ++k) {
            segments_of.push_back(std::max<int64_t>(1, (list.end(k) - list.begin(k) + length - 1) / length));
            segments = std::max(segments, segments_of.back());
            units += segments_of.back();
        }
        const int64_t cuts = std::max((4 * threads + units - 1) / units, (in + MOST_CHANNELS - 1) / MOST_CHANNELS);
        channels = std::max<int64_t>(8, (in + cuts - 1) / cuts);
        for (int64_t k = 0; k < list.volume; ++k)
            for (int64_t s = 0; s < segments_of[k]; ++s)
                for (int64_t c = 0; c < in; c += channels) tasks.push_back({k, s, c});
    }
};

}  // namespace

void outer_products(Pool& pool, const Features& x, const Features& gradient, const PairList& list, float* result) {
    list.check();
    const int64_t volume = list.volume, in = x.channels, out = gradient.channels, width = padded(out);
    if (volume == 0 || in == 0 || out == 0) return;
    const bool fits = width == out;
    const Scratch<float> widened = fits ? Scratch<float>(0) : pad_channels(pool, gradient);
    const float* y = fits ? gradient.values : widened.data();
    const OuterCuts cuts(pool.threads(), list, in, out);
    Scratch<float> others((cuts.segments - 1) * volume * in * out);  // parts of all segments but the first
    const auto part_of = [&](int64_t segment, int64_t k) {
        return (segment == 0 ? result : others.data() + (segment - 1) * volume * in * out) + k * in * out;
    };
    std::atomic<bool> inside{true};
    share_tasks(pool, int64_t(cuts.tasks.size()), [&](auto& take) {
        std::vector<float> sums(cuts.channels * width);
        for (int64_t t; (t = take()) >= 0;) {
            const OuterTask task = cuts.tasks[t];
            const int64_t channels = std::min(cuts.channels, in - task.channel);
            const int64_t at = list.begin(task.offset) + task.segment * cuts.length;
            const Pairs pairs{list.source + at, list.target + at, std::min(cuts.length, list.end(task.offset) - at)};
            if (!all_within(pairs.source, pairs.count, 0, x.rows) ||
                !all_within(pairs.target, pairs.count, 0, gradient.rows)) {
                inside.store(false, std::memory_order_relaxed);
                return;
            }
            std::fill(sums.begin(), sums.end(), 0.f);
            add_outer(pairs, x.values + task.channel, in, channels, y, width, sums.data());
            float* part = part_of(task.segment, task.offset) + task.channel * out;
            for (int64_t c = 0; c < channels; ++c)
                std::memcpy(part + c * out, sums.data() + c * width, out * sizeof(float));
        }
    });
    require(inside, "a pair of a kernel map is not one of the rows");
    for_each_task(pool, volume, [&](int64_t k) {
        float* sum = part_of(0, k);
        for (int64_t s = 1; s < cuts.segments_of[k]; ++s) {
            const float* part = part_of(s, k);
            for (int64_t i = 0; i < in * out; ++i) sum[i] += part[i];
        }
    });
}

}  // namespace mink_pd
