#include "voxel_net.h"

#include <algorithm>
#include <string>

#include "buffer.h"
#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr size_t STAGES = 4;
constexpr VoxelKernel CUBE{false}, UPRIGHT{true};
constexpr int64_t COLUMNS_AT_ONCE = 128;
constexpr int64_t MOST_LEVELS = 2000;  // of height

// Rows of y: max(y + layer of x, 0).
void add_convolved(const Layer& layer, Source x, const PairSlots& pairs, Target y, int64_t first_row, int64_t count) {
    for (int64_t row = 0; row < count; ++row)
        for (int64_t c = 0; c < layer.width; c += LANES) {
            float* to = y.values + row * y.stride + c;
            store(to, load(to) + load(layer.bias.data() + c));
        }
    for (int64_t k = 0; k < layer.volume; ++k)
        if (pairs[k].count > 0) layer.add(k, pairs[k], x, y, first_row);
    layer.finish(y, count);
}

}  // namespace

struct VoxelNet::State final : Encoder::State {
    // Sites and maps at a stride, and features there.
    struct Level {
        VoxelGrid sites;  // not of the first one: they are those of the points
        VoxelMap down, same;
        Buffer<float> features, spare;  // (rows, width)
    };
    // A convolution. `finds`: it is the first one that uses its map, and finds the map's pairs. `adds`: to what y
    // holds.
    struct Step {
        const Layer* layer;
        VoxelMap* map;
        bool finds, adds;
        Source x;
        float* y;
    };

    VoxelPoints points;
    Level levels[STAGES + 1];  // the last one: of the last halving of z
    std::vector<Step> steps;
    Flow flow;
    Buffer<float> stacked;  // (columns, padded)
};

VoxelNet::VoxelNet(const ModelFile& file, const PointPlan& points) : points_(points) {
    const Json& description = file.description()["encoder"];
    lift_ = description["lift"].integer(0, 1000), levels_ = description["levels"].integer(1, MOST_LEVELS);
    residual_ = description["residual"].boolean();
    const auto layers = description["layers"].integers(1, 100);
    require(layers.size() == STAGES, "its description has an encoder of an odd number of stages");
    int64_t in = int64_t(points.seen.size()), stride = 1;
    for (size_t stage = 0; stage < STAGES; ++stage, stride *= 2) {
        const auto cells = [&](int axis) { return (points.cells(axis) + stride - 1) / stride; };
        const int64_t top = ((levels_ + 1) << STAGES) / stride - 1;
        stages_.push_back({{}, {cells(0), cells(1), std::max<int64_t>(1, lift_ / stride), top}});
        require(!residual_ || layers[stage] % 2 == 1, "its description has residual blocks that are not whole");
        for (int64_t l = 0; l < layers[stage]; ++l) {
            const std::string name = "encoder.stages." + std::to_string(stage) + "." + std::to_string(l);
            stages_.back().layers.push_back(Layer::read(file, name, CUBE.volume(), in, true));
            require(!stages_.back().layers.back().int8, "has an encoder in 8 bits");
            require(!residual_ || l == 0 || stages_.back().layers.back().out == in, "has residual blocks that widen");
            in = stages_.back().layers.back().out;
        }
    }
    height_ = Layer::read(file, "encoder.height", UPRIGHT.volume(), in, true);
    require(!height_.int8, "has an encoder in 8 bits");
}

std::unique_ptr<Encoder::State> VoxelNet::make_state() const { return std::make_unique<State>(); }

Encoded VoxelNet::run(Pool& pool, const Cloud& cloud, int64_t whole, Encoder::State& memory) const {
    State& state = static_cast<State&>(memory);
    state.points.sort(points_, cloud, lift_);
    find_sites(whole, state);
    plan(state);
    // What a tile needs includes all tiles that read the rows that it overwrites: they lie under the same kernel.
    const auto needs = [&](int64_t step, int64_t tile) {
        return state.steps[step - 1].map->tiles_of(state.steps[step].map->sources(tile));
    };
    state.flow.run(pool, needs, [&](int64_t number, int64_t tile) {
        const State::Step& step = state.steps[number];
        if (step.finds) step.map->find(tile);
        const PairSlots pairs = step.map->pairs(tile);
        const int64_t first = step.map->first(tile), count = step.map->count(tile), width = step.layer->width;
        const Target y{step.y + first * width, width};
        if (step.adds)
            add_convolved(*step.layer, step.x, pairs, y, first, count);
        else
            convolve(*step.layer, step.x, pairs, y, first, count);
    });
    return {&state.levels[STAGES].sites.columns, stack(pool, state)};
}

// The sites of all levels, and their maps without pairs.
void VoxelNet::find_sites(int64_t whole, State& state) const {
    const VoxelGrid* finer = &state.points.grid();
    state.levels[0].same.cut(*finer, *finer, CUBE, 1, 1);
    for (size_t number = 1; number < STAGES; ++number) {
        State::Level& level = state.levels[number];
        halve_sites(*finer, false, stages_[number].bounds, 1, level.sites);
        level.down.cut(*finer, level.sites, CUBE, 2, 2);
        level.same.cut(level.sites, level.sites, CUBE, 1, 1);
        finer = &level.sites;
    }
    State::Level& last = state.levels[STAGES];
    Bounds bounds = stages_.back().bounds;
    bounds.z_low = 1, bounds.z_high = levels_;
    halve_sites(*finer, true, bounds, whole, last.sites);
    last.down.cut(*finer, last.sites, UPRIGHT, 1, 2);
}

// The convolutions of all levels, each from the result of the one before.
void VoxelNet::plan(State& state) const {
    state.steps.clear(), state.flow.clear();
    Source x{state.points.means(), padded(stages_.front().layers.front().in)};
    const auto add = [&](const Layer& layer, VoxelMap& map, bool finds, float* y, bool adds) {
        state.steps.push_back({&layer, &map, finds, adds, x, y});
        state.flow.add_step(map.tiles());
        x = {y, layer.width};
    };
    for (size_t number = 0; number < STAGES; ++number) {
        const std::vector<Layer>& layers = stages_[number].layers;
        State::Level& level = state.levels[number];
        int64_t widest = 0;
        for (const Layer& layer : layers) widest = std::max(widest, layer.width);
        const int64_t rows = (number == 0 ? state.points.grid() : level.sites).rows();
        float *y = level.features.sized(rows * widest), *other = level.spare.sized(rows * widest);
        add(layers[0], number == 0 ? level.same : level.down, true, y, false);
        for (size_t l = 1; l < layers.size(); ++l) {
            const bool adds = residual_ && l % 2 == 0;  // to the block's input, which `other` holds then
            std::swap(y, other);
            add(layers[l], level.same, l == 1 && number > 0, y, adds);
        }
    }
    State::Level& last = state.levels[STAGES];
    add(height_, last.down, true, last.features.sized(last.sites.rows() * height_.width), false);
}

// The last level's heights side by side: (columns, padded).
const float* VoxelNet::stack(Pool& pool, State& state) const {
    const VoxelGrid& grid = state.levels[STAGES].sites;
    const float* y = state.levels[STAGES].features.data();
    const int64_t width = padded(out()), columns = grid.columns.rows();
    float* stacked = state.stacked.sized(columns * width);
    for_each_task(pool, (columns + COLUMNS_AT_ONCE - 1) / COLUMNS_AT_ONCE, [&](int64_t task) {
        const int64_t first = task * COLUMNS_AT_ONCE, last = std::min(columns, first + COLUMNS_AT_ONCE);
        std::fill(stacked + first * width, stacked + last * width, 0.f);
        for (int64_t column = first; column < last; ++column)
            for (int64_t level = 0; level < levels_; ++level) {
                const int64_t cell = grid.heights.cell(column, level + 1);
                if (grid.heights.has(cell))
                    std::copy_n(y + grid.heights.rank(cell) * height_.width, height_.out,
                                stacked + column * width + level * height_.out);
            }
    });
    return stacked;
}

}  // namespace mink_pd::engine
