// Multi-layer perceptrons of point networks at inference.
//
// A tile of rows passes all layers before the next one begins, so that what lies between two layers stays in the
// second-level cache. Groups are gathered into a tile without the rows that only fill them up, and leave it as their
// maxima: no tensor of (groups, size, channels) is ever in memory. Every sum runs over the input channels in order, so
// results depend neither on the tiles nor on the threads.
#include "mlp.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "dense.h"
#include "error.h"
#include "memory.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t TILE_ROWS = 96, FEWEST_ROWS = 24;  // that pass the layers together
constexpr int64_t TASK_ROWS = 768;                   // of groups that one task takes
constexpr int64_t TASKS = 8;                         // at least for each thread, or one waits for another's last task

// The weights of a layer as panels, and its shift, padded with zeros to whole vectors.
struct PackedLayer {
    int64_t in, out, width;
    bool relu;
    Scratch<float> panels, shift;

    explicit PackedLayer(const DenseLayer& layer)
        : in(layer.in), out(layer.out), width(padded(layer.out)), relu(layer.relu), panels(in * width), shift(width) {
        require(in > 0 && out > 0, "a layer needs channels");
        std::copy_n(layer.shift, out, shift.data());
        std::fill(shift.data() + out, shift.data() + width, 0.f);
    }

    // LANES channels from `first` on, few enough that their rows stay in the first-level cache.
    void pack(const DenseLayer& layer, int64_t first) {
        const int64_t panel = first / PANEL * PANEL, wide = std::min<int64_t>(PANEL, width - panel);
        const int64_t filled = std::min<int64_t>(LANES, out - first);
        const float* from = layer.weight + first * layer.stride;
        float* to = panels.data() + panel * in + (first - panel);
        for (int64_t c = 0; c < in; ++c, to += wide) {
            for (int64_t j = 0; j < filled; ++j) to[j] = from[j * layer.stride + c];
            std::fill(to + filled, to + LANES, 0.f);
        }
    }

    // y (rows, width), of rows that start every `stride` floats; the sums begin with `start`, or else with the shift.
    void run(const float* x, int64_t stride, int64_t rows, const float* start, float* y) const {
        for_each_panel(width, [&](int64_t first, int64_t vectors) {
            const float* begin = (start != nullptr ? start : shift.data()) + first;
            const DensePanel panel{
                x, stride, in, panels.data() + first * in, begin, start != nullptr ? width : 0, y + first, width, relu};
            with_vectors(vectors, [&](auto v) { dense_rows<v()>(panel, rows); });
        });
    }
};

std::vector<PackedLayer> pack_layers(Pool& pool, std::span<const DenseLayer> layers) {
    std::vector<PackedLayer> packed;
    std::vector<std::pair<int64_t, int64_t>> tasks;  // layer, first channel
    for (const DenseLayer& layer : layers) {
        for (int64_t first = 0; first < layer.out; first += LANES) tasks.emplace_back(packed.size(), first);
        packed.emplace_back(layer);
        require(packed.size() == 1 || packed.back().in == packed[packed.size() - 2].out,
                "a layer must take as many channels as the one before it has");
    }
    split_tasks(pool, int64_t(tasks.size()), [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t) packed[tasks[t].first].pack(layers[tasks[t].first], tasks[t].second);
    });
    return packed;
}

int64_t widest(std::span<const PackedLayer> layers) {
    int64_t width = 0;
    for (const PackedLayer& layer : layers) width = std::max(width, layer.width);
    return width;
}

// Rows of a tile: values every `stride` floats.
struct TileRows {
    const float* values;
    int64_t stride;
};

// One thread's room for a tile between two layers.
class Workspace {
 public:
    Workspace(std::span<const PackedLayer> layers, int64_t rows)
        : layers_(layers), size_(rows * widest(layers)), memory_(2 * size_) {}

    // The rows after all layers; `to` takes the last layer's where it is given. start(layer) is what the sums of a
    // layer begin with, or null.
    template <typename Start>
    TileRows run(TileRows x, int64_t rows, float* to, Start&& start) {
        for (size_t n = 0; n < layers_.size(); ++n) {
            const PackedLayer& layer = layers_[n];
            float* y = to != nullptr && n + 1 == layers_.size() ? to : memory_.data() + n % 2 * size_;
            layer.run(x.values, x.stride, rows, start(int64_t(n)), y);
            x = {y, layer.width};
        }
        return x;
    }

 private:
    std::span<const PackedLayer> layers_;
    int64_t size_;
    Scratch<float> memory_;
};

// What the sums of rows first .. first + rows - 1 begin with: the layer's shift and the table's rows. False if a source
// is not one of the table's rows.
bool begin_sums(const TableSum& sum, const PackedLayer& layer, int64_t first, int64_t rows, float* start) {
    for (int64_t r = 0; r < rows; ++r) {
        float* to = start + r * layer.width;
        std::copy_n(layer.shift.data(), layer.width, to);
        for (int64_t k = (first + r) * sum.count; k < (first + r + 1) * sum.count; ++k) {
            if (sum.sources[k] < 0 || sum.sources[k] >= sum.rows) return false;
            const float* from = sum.table + sum.sources[k] * layer.out;
            const float weight = sum.weights != nullptr ? sum.weights[k] : 1.f;
            for (int64_t c = 0; c < layer.out; ++c) to[c] += weight * from[c];
        }
    }
    return true;
}

// The layer on a row's offset from its centre: three columns of weights.
struct OffsetLayer {
    int64_t channels;
    bool relu;
    std::vector<float> columns, shift;  // (3, channels), (channels,)

    explicit OffsetLayer(const DenseLayer& layer)
        : channels(layer.out), relu(layer.relu), columns(3 * layer.out), shift(layer.shift, layer.shift + layer.out) {
        require(layer.in == 3 && layer.out > 0, "the first layer of groups takes offsets of 3 numbers");
        for (int64_t c = 0; c < channels; ++c)
            for (int d = 0; d < 3; ++d) columns[d * channels + c] = layer.weight[c * layer.stride + d];
    }

    void run(const float* place, const float* centre, const float* features, float* to) const {
        const float x = place[0] - centre[0], y = place[1] - centre[1], z = place[2] - centre[2];
        const float *of_x = columns.data(), *of_y = of_x + channels, *of_z = of_y + channels, *begin = shift.data();
        for (int64_t c = 0; c < channels; ++c) {
            const float value = features[c] + begin[c] + x * of_x[c] + y * of_y[c] + z * of_z[c];
            to[c] = relu && value < 0 ? 0 : value;  // NaN stays
        }
    }
};

// The largest of `rows` rows, per channel; NaN if any is.
void largest(const float* from, int64_t stride, int64_t rows, int64_t channels, float* to) {
    std::copy_n(from, channels, to);
    for (int64_t r = 1; r < rows; ++r) {
        from += stride;
        for (int64_t c = 0; c < channels; ++c) to[c] = to[c] != to[c] || from[c] <= to[c] ? to[c] : from[c];
    }
}

// One thread's tile of whole groups.
class GroupTile {
 public:
    GroupTile(const PointGroups& groups, const OffsetLayer& first, std::span<const PackedLayer> layers, float* result)
        : groups_(groups),
          first_(first),
          out_(layers.empty() ? first.channels : layers.back().out),
          most_(std::max(TILE_ROWS, groups.size)),
          rows_(most_ * first.channels),
          workspace_(layers, most_),
          result_(result) {}

    // False if a row is not one of the points.
    bool add(int64_t group) {
        if (used_ + groups_.size > most_) finish();
        const int64_t* rows = groups_.rows + group * groups_.size;
        begins_.push_back({group, used_});
        for (int64_t k = 0; k < groups_.size; ++k) {
            if (k > 0 && rows[k] == rows[0]) continue;
            if (rows[k] < 0 || rows[k] >= groups_.points) return false;
            first_.run(groups_.xyz + 3 * rows[k], groups_.centres + 3 * group,
                       groups_.features + rows[k] * first_.channels, rows_.data() + used_++ * first_.channels);
        }
        return true;
    }

    void finish() {
        const auto shift = [](int64_t) -> const float* { return nullptr; };
        const TileRows y = workspace_.run({rows_.data(), first_.channels}, used_, nullptr, shift);
        for (size_t n = 0; n < begins_.size(); ++n) {
            const auto [group, begin] = begins_[n];
            const int64_t end = n + 1 < begins_.size() ? begins_[n + 1].row : used_;
            largest(y.values + begin * y.stride, y.stride, end - begin, out_, result_ + group * out_);
        }
        begins_.clear(), used_ = 0;
    }

 private:
    struct Begin {
        int64_t group, row;
    };
    const PointGroups& groups_;
    const OffsetLayer& first_;
    int64_t out_, most_, used_ = 0;
    Scratch<float> rows_;  // (most, channels)
    Workspace workspace_;
    std::vector<Begin> begins_;
    float* result_;
};

}  // namespace

void mlp_rows(Pool& pool, const float* x, int64_t rows, std::span<const DenseLayer> layers, const TableSum* sum,
              float* result) {
    require(!layers.empty(), "there are no layers");
    require(sum == nullptr || (sum->layer >= 0 && sum->layer < int64_t(layers.size())), "there is no such layer");
    const std::vector<PackedLayer> packed = pack_layers(pool, layers);
    const PackedLayer& last = packed.back();
    const bool fits = last.width == last.out;  // else a tile's rows are wider than the result's
    const int64_t tile = std::clamp(rows / (TASKS * pool.threads()), FEWEST_ROWS, TILE_ROWS);
    std::atomic<bool> inside{true};
    share_tasks(pool, (rows + tile - 1) / tile, [&](auto& take) {
        Workspace workspace(packed, tile);
        Scratch<float> start(sum != nullptr ? tile * packed[sum->layer].width : 0);
        for (int64_t task; (task = take()) >= 0;) {
            const int64_t first = task * tile, count = std::min(tile, rows - first);
            if (sum != nullptr && !begin_sums(*sum, packed[sum->layer], first, count, start.data())) {
                inside.store(false, std::memory_order_relaxed);
                return;
            }
            const auto start_of = [&](int64_t n) { return sum != nullptr && n == sum->layer ? start.data() : nullptr; };
            const TileRows y = workspace.run({x + first * packed[0].in, packed[0].in}, count,
                                             fits ? result + first * last.out : nullptr, start_of);
            for (int64_t r = 0; !fits && r < count; ++r)
                std::copy_n(y.values + r * y.stride, last.out, result + (first + r) * last.out);
        }
    });
    require(inside, "a source is not one of the table's rows");
}

void mlp_groups(Pool& pool, const PointGroups& groups, const DenseLayer& first, std::span<const DenseLayer> layers,
                float* result) {
    require(groups.size >= 1, "a group needs a row");
    const OffsetLayer offsets(first);
    const std::vector<PackedLayer> packed = pack_layers(pool, layers);
    require(packed.empty() || packed[0].in == first.out, "a layer must take as many channels as the one before it has");
    const int64_t most = std::max<int64_t>(1, TASK_ROWS / groups.size);
    const int64_t some = std::clamp<int64_t>(groups.groups / (TASKS * pool.threads()), 1, most);
    std::atomic<bool> inside{true};
    share_tasks(pool, (groups.groups + some - 1) / some, [&](auto& take) {
        GroupTile tile(groups, offsets, packed, result);
        for (int64_t task; (task = take()) >= 0;)
            for (int64_t g = task * some; g < std::min(groups.groups, (task + 1) * some); ++g)
                if (!tile.add(g)) {
                    inside.store(false, std::memory_order_relaxed);
                    return;
                }
        tile.finish();
    });
    require(inside, "a group's row is not one of the points");
}

}  // namespace mink_pd
