#include "center_head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t SITES_AT_ONCE = 8;          // of the coarsest stage, whose children a task computes the neck of
constexpr int64_t ROWS_AT_ONCE = 64;          // of a task that computes some rows only
constexpr int64_t BOX = 8;                    // offset x, y, height, sizes, sine, cosine
const float LARGEST = float(std::log(50.0));  // of log sizes

// The layer at some rows (count,) of y, which are rows of x's sites as well; `local`: result i is row i of y instead.
void convolve_rows(Pool& pool, const Layer& layer, SourceRows x, const SiteGrid& sites, const int32_t* rows,
                   int64_t count, bool local, std::vector<Buffer<int32_t>>& slots, float* y) {
    const Kernel kernel(3);
    std::atomic<size_t> started{0};
    share_tasks(pool, (count + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, [&](auto& take) {
        int32_t* memory = slots[started.fetch_add(1)].data();
        for (int64_t task; (task = take()) >= 0;) {
            PairSlots pairs(memory, kernel.volume(), ROWS_AT_ONCE);
            pairs.clear();
            const int64_t first = task * ROWS_AT_ONCE, last = std::min(count, first + ROWS_AT_ONCE);
            const auto target = [&](int64_t i) { return local ? i : int64_t(rows[i]); };
            for (int64_t i = first; i < last; ++i) {
                const int64_t cell = sites.cells()[rows[i]];
                add_pairs(sites, kernel, sites.x_of(cell), sites.y_of(cell), target(i), pairs);
                layer.begin({y + target(i) * layer.width, layer.width}, 1);
            }
            for (int64_t k = 0; k < layer.volume; ++k)
                if (pairs[k].count > 0) add_products(pairs[k], x, layer.panels(k), {y, layer.width}, 0);
            for (int64_t i = first; i < last; ++i) layer.finish({y + target(i) * layer.width, layer.width}, 1);
        }
    });
}

}  // namespace

struct CenterHead::State final : Head::State {
    explicit State(int64_t threads) : neck_tiles(threads), slots(threads) {}

    SiteGrid sites;  // of the neck
    TileMap map;
    Buffer<float> neck, shared, hidden, heat, box;
    std::vector<Buffer<float>> neck_tiles;
    std::vector<Buffer<int32_t>> slots;
    Buffer<int32_t> labels;          // of each site the best class, by its place in the task
    Buffer<float> scores;            // of each site
    Buffer<int32_t> picked, needed;  // sites that pass, and those whose hidden features they need
    Buffer<uint8_t> marks;           // 1 for a needed site
    int64_t picked_count, needed_count;
};

CenterHead::CenterHead(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes,
                       int64_t stride)
    : cells_(points, stride) {
    const Json& head = file.description()["head"];
    velocity_ = head["velocity"].boolean(), iou_ = head["iou"].boolean();
    rectifier_ = float(head["rectifier"].number());
    const int64_t volume = Kernel(3).volume();
    const Tensor& weight = file.tensor("head.shared.weight", {volume, bev.channels(), -1});
    const int64_t channels = weight.shape[2];
    std::vector<float> spread;
    for (int64_t k = 0; k < volume; ++k) {
        const auto rows = bev.spread_rows(weight.values + k * bev.channels() * channels, channels);
        spread.insert(spread.end(), rows.begin(), rows.end());
    }
    const float* bias = file.tensor("head.shared.bias", {channels}).values;
    shared_ = Layer(spread.data(), bias, volume, bev.width(), channels, true);
    for (const Json& task : head["tasks"].list()) {
        const std::string name = "head.tasks." + std::to_string(tasks_.size());
        tasks_.push_back({});
        Task& last = tasks_.back();
        for (const int64_t label : task.integers(0, classes - 1)) last.labels.push_back(int32_t(label));
        last.heat_hidden = Layer::read(file, name + ".heat_hidden", volume, channels, true);
        last.heat = Layer::read(file, name + ".heat", volume, last.heat_hidden.out, false);
        last.box_hidden = Layer::read(file, name + ".box_hidden", volume, channels, true);
        last.box = Layer::read(file, name + ".box", volume, last.box_hidden.out, false);
        require(!last.labels.empty() && last.heat.out == int64_t(last.labels.size()) &&
                    last.box.out == BOX + 2 * velocity_ + iou_,
                "has a centre head of another shape than its description says");
    }
    require(!tasks_.empty(), "its description has no tasks");
}

std::unique_ptr<Head::State> CenterHead::make_state(int64_t threads) const { return std::make_unique<State>(threads); }

void CenterHead::run(Pool& pool, const BevNet& bev, const BevState& stages, float score, Head::State& memory,
                     std::vector<Candidate>& candidates) const {
    State& state = static_cast<State&>(memory);
    const int64_t slots = std::max(PairSlots::size(Kernel(3).volume(), ROWS_AT_ONCE), bev.slots(SITES_AT_ONCE));
    for (size_t thread = 0; thread < state.slots.size(); ++thread) {  // of those that get no task, too
        state.slots[thread].sized(slots);
        state.neck_tiles[thread].sized(SITES_AT_ONCE * bev.children() * bev.width());
    }
    make_neck(pool, bev, stages, state);
    state.map.find(pool, state.sites, state.sites, Kernel(3), 1);
    const int64_t rows = state.sites.rows();
    convolve(pool, shared_, {state.neck.data(), bev.width()}, state.map, state.shared.sized(rows * shared_.width));
    for (size_t task = 0; task < tasks_.size(); ++task) run_task(pool, int32_t(task), score, state, candidates);
}

// The neck's sites, and its features at all of them.
void CenterHead::make_neck(Pool& pool, const BevNet& bev, const BevState& stages, State& state) const {
    const SiteGrid& coarse = stages.stages.back().sites;
    const int64_t edge = bev.children_edge(), width = bev.width(), count = coarse.rows();
    state.sites.clear(coarse.cells_x() * edge, coarse.cells_y() * edge);
    const auto corner = [&](int64_t row, int64_t i) {
        const int64_t cell = coarse.cells()[row];
        return state.sites.cell(coarse.x_of(cell) * edge + i, coarse.y_of(cell) * edge);
    };
    for (int64_t row = 0; row < count; ++row)
        for (int64_t i = 0; i < edge; ++i) state.sites.set_run(corner(row, i), edge);
    state.sites.number();
    float* neck = state.neck.sized(state.sites.rows() * width);
    std::atomic<size_t> started{0};
    share_tasks(pool, (count + SITES_AT_ONCE - 1) / SITES_AT_ONCE, [&](auto& take) {
        const size_t thread = started.fetch_add(1);
        float* tile = state.neck_tiles[thread].data();
        int32_t* slots = state.slots[thread].data();
        for (int64_t task; (task = take()) >= 0;) {
            const int64_t first = task * SITES_AT_ONCE, some = std::min(SITES_AT_ONCE, count - first);
            bev.neck(stages, first, some, slots, tile);
            for (int64_t site = 0; site < some; ++site)
                for (int64_t i = 0; i < edge; ++i)  // the children of a line are neighbours in the rows, too
                    std::copy_n(tile + (site * edge + i) * edge * width, edge * width,
                                neck + state.sites.rank(corner(first + site, i)) * width);
        }
    });
}

void CenterHead::run_task(Pool& pool, int32_t number, float score, State& state,
                          std::vector<Candidate>& candidates) const {
    const Task& task = tasks_[number];
    const int64_t rows = state.sites.rows();
    const SourceRows shared{state.shared.data(), shared_.width};
    const auto hidden = [&](const Layer& layer) { return state.hidden.sized(rows * layer.width); };
    convolve(pool, task.heat_hidden, shared, state.map, hidden(task.heat_hidden));
    convolve(pool, task.heat, {state.hidden.data(), task.heat_hidden.width}, state.map,
             state.heat.sized(rows * task.heat.width));
    pick_sites(task, score, state);
    float* box = state.box.sized(state.picked_count * task.box.width);
    convolve_rows(pool, task.box_hidden, shared, state.sites, state.needed.data(), state.needed_count, false,
                  state.slots, hidden(task.box_hidden));
    convolve_rows(pool, task.box, {state.hidden.data(), task.box_hidden.width}, state.sites, state.picked.data(),
                  state.picked_count, true, state.slots, box);
    for (int64_t i = 0; i < state.picked_count; ++i) {
        const int64_t row = state.picked[i];
        const float* values = box + i * task.box.width;
        Candidate found = decode(values, state.sites, row);
        for (int64_t c = 0; c < task.box.out; ++c)
            if (!std::isfinite(values[c])) throw NotFinite();
        found.box.score = state.scores[row];
        if (iou_) {
            const float iou = std::min(std::max((values[task.box.out - 1] + 1) / 2, 0.f), 1.f);
            found.box.score = std::pow(found.box.score, 1 - rectifier_) * std::pow(iou, rectifier_);
        }
        if (!(found.box.score >= score)) continue;
        found.box.label = task.labels[state.labels[row]], found.group = number;
        candidates.push_back(found);
    }
}

// The best class of every site, the sites that may pass the score, and their neighbours.
void CenterHead::pick_sites(const Task& task, float score, State& state) const {
    const int64_t rows = state.sites.rows(), classes = task.heat.out;
    float* scores = state.scores.sized(rows);
    int32_t *labels = state.labels.sized(rows), *picked = state.picked.sized(rows), *needed = state.needed.sized(rows);
    uint8_t* marks = state.marks.sized(rows);
    std::fill(marks, marks + rows, 0);
    // The rectified score is at most score^(1 - rectifier).
    const float least = !iou_ ? score : rectifier_ < 1 ? std::pow(score, 1 / (1 - rectifier_)) * 0.999f : 0.f;
    const float logit = lowest_logit(least);
    state.picked_count = state.needed_count = 0;
    for (int64_t row = 0; row < rows; ++row) {
        const float* heat = state.heat.data() + row * task.heat.width;
        float highest = heat[0], sum = 0;
        for (int64_t c = 0; c < classes; ++c) highest = std::max(highest, heat[c]), sum += heat[c] * 0;
        if (sum != 0) throw NotFinite();
        if (!(highest >= logit)) continue;
        scores[row] = -1;
        for (int64_t c = 0; c < classes; ++c)
            if (const float own = sigmoid(heat[c]); own > scores[row]) scores[row] = own, labels[row] = int32_t(c);
        if (scores[row] < least) continue;
        picked[state.picked_count++] = int32_t(row);
        const int64_t cell = state.sites.cells()[row];
        for (int64_t i = -1; i <= 1; ++i) {
            const int64_t line = state.sites.cell(state.sites.x_of(cell) + i, state.sites.y_of(cell) - 1);
            for (int64_t j = 0; j < 3; ++j)
                if (state.sites.has(line + j)) marks[state.sites.rank(line + j)] = 1;
        }
    }
    for (int64_t row = 0; row < rows; ++row) {
        needed[state.needed_count] = int32_t(row);
        state.needed_count += marks[row];
    }
}

Candidate CenterHead::decode(const float* box, const SiteGrid& sites, int64_t row) const {
    const int64_t cell = sites.cells()[row], place[2] = {sites.x_of(cell), sites.y_of(cell)};
    float centre[2];
    for (int axis = 0; axis < 2; ++axis) {
        const float edge = cells_.size[axis] * float(cells_.stride);
        centre[axis] = cells_.centre(axis, place[axis]) - edge / 2 + box[axis] * edge;
    }
    const auto size = [&](int axis) { return std::exp(std::min(std::max(box[3 + axis], -LARGEST), LARGEST)); };
    Candidate found{};
    found.box = {centre[0], centre[1], box[2], size(0), size(1), size(2), std::atan2(box[6], box[7]), 0, NAN, NAN, 0};
    if (velocity_) found.box.velocity_x = box[BOX], found.box.velocity_y = box[BOX + 1];
    found.order = row;
    return found;
}

}  // namespace mink_pd::engine
