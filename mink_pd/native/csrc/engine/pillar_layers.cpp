#include "pillar_layers.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>

#include "buffer.h"
#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t PILLARS_AT_ONCE = 64;

// max(x, 0) of rows (count, width).
void rectify(float* rows, int64_t count, int64_t width) {
    for (float* at = rows; at < rows + count * width; at += LANES) {
        const Vector v = load(at);
        store(at, v < 0 ? Vector{} : v);  // NaN stays
    }
}

// The largest of rows (count, width) -> (width,); NaN is larger than all.
void largest_row(const float* rows, int64_t count, int64_t width, float* result) {
    for (int64_t c = 0; c < width; c += LANES) {
        Vector best = Vector{} - std::numeric_limits<float>::infinity();
        for (int64_t row = 0; row < count; ++row) {
            const Vector v = load(rows + row * width + c);
            best = best >= v || best != best ? best : v;
        }
        store(result + c, best);
    }
}

}  // namespace

// Of a thread. `every`: 0, 1, 2 ...; `rows`: of each pillar, its points and the empty slot if that counts.
struct PillarLayers::Memory {
    Buffer<int32_t> every, rows;
    Buffer<float> points;           // (rows, padded(seen)), relative to the pillars' centres
    Buffer<float> x, y;             // (rows, width), features before and after a layer
    Buffer<float> shared, largest;  // (pillars, width)
};

struct PillarLayers::State final : Encoder::State {
    PillarPoints points;
    Buffer<float> features;
    std::vector<Memory> threads;
};

PillarLayers::Matrix::Matrix(const float* values, int64_t stride, int64_t in, int64_t out)
    : in(in), out(out), width(padded(out)), weights(in * width) {
    std::vector<float> compact;  // (out, in)
    for (int64_t row = 0; row < out; ++row)
        compact.insert(compact.end(), values + row * stride, values + row * stride + in);
    pack_panels({compact.data(), 1, in, out, true}, 0, weights.data());
}

void PillarLayers::Matrix::add(const int32_t* every, int64_t rows, SourceRows x, float* y) const {
    add_products({every, every, rows}, x, {weights.data(), in, width}, {y, width}, 0);
}

PillarLayers::PillarLayers(const ModelFile& file, const PointPlan& points, int64_t hidden)
    : points_(points), map_(file, "encoder.hidden.0", points), widest_(map_.width) {
    std::vector<float> by_point;  // (out, seen)
    for (int64_t c = 0; c < map_.out; ++c)
        for (int64_t f = 0; f < map_.seen; ++f) by_point.push_back(map_.by_point[f * map_.width + c]);
    by_point_ = Matrix(by_point.data(), map_.seen, map_.seen, map_.out);
    int64_t in = map_.out;
    for (int64_t number = 1; number <= hidden; ++number) {
        const std::string name = number == hidden ? "encoder" : "encoder.hidden." + std::to_string(number);
        const Tensor& weight = file.tensor(name + ".weight", {-1, 2 * in});
        const int64_t out = weight.shape[0];
        require(out > 0 && out <= MOST_CHANNELS, "has a pillar net of an odd size");
        PairLayer& layer = layers_.emplace_back();
        layer.own = Matrix(weight.values, 2 * in, in, out), layer.largest = Matrix(weight.values + in, 2 * in, in, out);
        layer.bias = Scratch<float>(layer.own.width);
        const float* bias = file.tensor(name + ".bias", {out}).values;
        std::fill(std::copy_n(bias, out, layer.bias.data()), layer.bias.data() + layer.own.width, 0.f);
        in = out, widest_ = std::max(widest_, layer.own.width);
    }
    if (file.description()["encoder"]["empty_slots"].boolean()) slots_ = points.most;
}

std::unique_ptr<Encoder::State> PillarLayers::make_state() const { return std::make_unique<State>(); }

int64_t PillarLayers::rows_of(const PillarPoints& points, int64_t pillar) const {
    return points.count(pillar) + (points.count(pillar) < slots_);
}

Encoded PillarLayers::run(Pool& pool, const Cloud& cloud, int64_t whole, Encoder::State& memory) const {
    State& state = static_cast<State&>(memory);
    state.points.sort(pool, points_, cloud, whole);
    const int64_t pillars = state.points.pillars(), tasks = (pillars + PILLARS_AT_ONCE - 1) / PILLARS_AT_ONCE;
    const auto end = [&](int64_t task) { return std::min(pillars, (task + 1) * PILLARS_AT_ONCE); };
    int64_t most = 0;
    for (int64_t task = 0; task < tasks; ++task) {
        int64_t rows = 0;
        for (int64_t m = task * PILLARS_AT_ONCE; m < end(task); ++m) rows += rows_of(state.points, m);
        most = std::max(most, rows);
    }
    state.threads.resize(pool.threads());
    for (Memory& thread : state.threads) {  // those of threads that get no task too: the next cloud may give them one
        int32_t* every = thread.every.sized(std::max(most, PILLARS_AT_ONCE));
        for (int64_t row = 0; row < std::max(most, PILLARS_AT_ONCE); ++row) every[row] = int32_t(row);
        thread.rows.sized(PILLARS_AT_ONCE), thread.points.sized(most * padded(map_.seen));
        for (Buffer<float>* rows : {&thread.x, &thread.y}) rows->sized(most * widest_);
        for (Buffer<float>* rows : {&thread.shared, &thread.largest}) rows->sized(PILLARS_AT_ONCE * widest_);
    }
    const int64_t width = layers_.back().own.width;
    float* features = state.features.sized(pillars * width);
    std::atomic<size_t> started{0};
    share_tasks(pool, tasks, [&](auto& take) {
        Memory& thread = state.threads[started.fetch_add(1)];
        for (int64_t task; (task = take()) >= 0;)
            run_some(state.points, task * PILLARS_AT_ONCE, end(task), thread,
                     features + task * PILLARS_AT_ONCE * width);
    });
    return {&state.points.grid(), features};
}

// memory.points, and memory.y before the products: what a pillar's points share, and of an empty slot the bias.
void PillarLayers::describe(const PillarPoints& points, int64_t first, int64_t last, Memory& memory) const {
    const int64_t seen = map_.seen, stride = padded(seen), width = map_.width;
    float *to = memory.points.data(), *y = memory.y.data(), *shared = memory.shared.data();
    for (int64_t m = first; m < last; ++m) {
        const float* from = points.points(m);
        float centre[MOST_SEEN];
        map_.centre_of(points.grid(), points.grid().cells()[m], centre);
        map_.shared_part(from, points.count(m), centre, shared);
        for (int64_t p = 0; p < points.count(m); ++p, from += seen, to += stride, y += width) {
            for (int64_t c = 0; c < seen; ++c) to[c] = from[c] - centre[c];
            std::copy_n(shared, width, y);
        }
        memory.rows[m - first] = int32_t(rows_of(points, m));
        if (rows_of(points, m) == points.count(m)) continue;
        std::fill_n(to, seen, 0.f);
        std::copy_n(map_.bias.data(), width, y);
        to += stride, y += width;
    }
}

// Features (pillars, width) of pillars first .. last - 1.
void PillarLayers::run_some(const PillarPoints& points, int64_t first, int64_t last, Memory& memory, float* y) const {
    const int64_t pillars = last - first;
    describe(points, first, last, memory);
    int64_t rows = 0, width = map_.width;
    for (int64_t m = 0; m < pillars; ++m) rows += memory.rows[m];
    const auto find_largest = [&](float* result) {
        const float* from = memory.y.data();
        for (int64_t m = 0; m < pillars; from += memory.rows[m++] * width)
            largest_row(from, memory.rows[m], width, result + m * width);
    };
    const int32_t* every = memory.every.data();
    by_point_.add(every, rows, {memory.points.data(), padded(map_.seen)}, memory.y.data());
    for (const PairLayer& layer : layers_) {
        rectify(memory.y.data(), rows, width);
        find_largest(memory.largest.data());
        float* shared = memory.shared.data();
        const int64_t out = layer.own.width;
        for (int64_t m = 0; m < pillars; ++m) std::copy_n(layer.bias.data(), out, shared + m * out);
        layer.largest.add(every, pillars, {memory.largest.data(), width}, shared);
        std::swap(memory.x, memory.y);
        float* to = memory.y.data();
        for (int64_t m = 0; m < pillars; ++m)
            for (int64_t p = 0; p < memory.rows[m]; ++p, to += out) std::copy_n(shared + m * out, out, to);
        layer.own.add(every, rows, {memory.x.data(), width}, memory.y.data());
        width = out;
    }
    find_largest(y);
    rectify(y, pillars, width);
}

}  // namespace mink_pd::engine
