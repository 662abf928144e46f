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
void convolve_rows(Pool& pool, const Layer& layer, Source x, const SiteGrid& sites, const int32_t* rows, int64_t count,
                   bool local, std::vector<Buffer<int32_t>>& slots, Target y) {
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
                layer.begin(y.at(target(i), 0), 1);
            }
            for (int64_t k = 0; k < layer.volume; ++k)
                if (pairs[k].count > 0) layer.add(k, pairs[k], x, y, 0);
            for (int64_t i = first; i < last; ++i) layer.finish(y.at(target(i), 0), 1);
        }
    });
}

// Memory of a layer's result.
struct Result {
    Buffer<float> values;
    Buffer<uint8_t> codes;

    // Codes are written if the layer has a step of them.
    Target sized(int64_t rows, const Layer& layer, bool floats) {
        return sized(rows, layer.width, layer.step > 0, floats);
    }
    Target sized(int64_t rows, int64_t width, bool with_codes, bool floats) {
        return {values.sized(rows * width), width, with_codes ? codes.sized(rows * width) : nullptr, floats};
    }
};

Source read_back(Target y) { return {y.values, y.stride, y.codes}; }

}  // namespace

struct CenterHead::State final : Head::State {
    explicit State(int64_t threads) : neck_tiles(threads), slots(threads) {}

    SiteGrid sites;  // of the neck
    TileMap map;
    Result neck, shared, hidden, heat, box;
    std::vector<Result> neck_tiles;
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
    shared_ = Layer::read(file, "head.shared", volume, bev.row(), true);
    bev.check_reads(shared_);
    const int64_t channels = shared_.out;
    for (const Json& task : head["tasks"].list()) {
        const std::string name = "head.tasks." + std::to_string(tasks_.size());
        tasks_.push_back({});
        Task& last = tasks_.back();
        for (const int64_t label : task.integers(0, classes - 1)) last.labels.push_back(int32_t(label));
        last.heat_hidden = Layer::read(file, name + ".heat_hidden", volume, channels, true);
        last.heat = Layer::read(file, name + ".heat", volume, last.heat_hidden.out, false);
        last.box_hidden = Layer::read(file, name + ".box_hidden", volume, channels, true);
        last.box = Layer::read(file, name + ".box", volume, last.box_hidden.out, false);
        last.heat_hidden.check_reads(shared_.step), last.box_hidden.check_reads(shared_.step);
        last.heat.check_reads(last.heat_hidden.step), last.box.check_reads(last.box_hidden.step);
        shared_floats_ |= !last.heat_hidden.int8 || !last.box_hidden.int8;
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
        state.neck_tiles[thread].sized(SITES_AT_ONCE * bev.children(), bev.width(), true, true);
    }
    const Source neck = make_neck(pool, bev, stages, state);
    state.map.find(pool, state.sites, state.sites, Kernel(3), 1);
    const int64_t rows = state.sites.rows();
    const Target shared = state.shared.sized(rows, shared_, shared_floats_);
    convolve(pool, shared_, neck, state.map, shared);
    for (size_t task = 0; task < tasks_.size(); ++task)
        run_task(pool, int32_t(task), read_back(shared), score, state, candidates);
}

// The neck's sites, and its features at all of them.
Source CenterHead::make_neck(Pool& pool, const BevNet& bev, const BevState& stages, State& state) const {
    const SiteGrid& coarse = stages.stages.back().sites;
    const int64_t edge = bev.children_edge(), width = bev.width(), count = coarse.rows();
    refine_sites(coarse, edge, state.sites);
    const auto corner = [&](int64_t row, int64_t i) {
        const int64_t cell = coarse.cells()[row];
        return state.sites.cell(coarse.x_of(cell) * edge + i, coarse.y_of(cell) * edge);
    };
    const bool codes = shared_.int8.has_value();
    const Target neck = state.neck.sized(state.sites.rows(), width, codes, !codes);
    std::atomic<size_t> started{0};
    share_tasks(pool, (count + SITES_AT_ONCE - 1) / SITES_AT_ONCE, [&](auto& take) {
        const size_t thread = started.fetch_add(1);
        const Target tile = state.neck_tiles[thread].sized(SITES_AT_ONCE * bev.children(), width, codes, !codes);
        int32_t* slots = state.slots[thread].data();
        for (int64_t task; (task = take()) >= 0;) {
            const int64_t first = task * SITES_AT_ONCE, some = std::min(SITES_AT_ONCE, count - first);
            bev.neck(stages, first, some, slots, tile);
            for (int64_t site = 0; site < some; ++site)
                for (int64_t i = 0; i < edge; ++i) {  // the children of a line are neighbours in the rows, too
                    const Target from = tile.at((site * edge + i) * edge, 0);
                    const Target to = neck.at(state.sites.rank(corner(first + site, i)), 0);
                    if (codes)
                        std::copy_n(from.codes, edge * width, to.codes);
                    else
                        std::copy_n(from.values, edge * width, to.values);
                }
        }
    });
    return read_back(neck);
}

void CenterHead::run_task(Pool& pool, int32_t number, Source shared, float score, State& state,
                          std::vector<Candidate>& candidates) const {
    const Task& task = tasks_[number];
    const int64_t rows = state.sites.rows();
    const Target heat_hidden = state.hidden.sized(rows, task.heat_hidden, !task.heat.int8);
    convolve(pool, task.heat_hidden, shared, state.map, heat_hidden);
    convolve(pool, task.heat, read_back(heat_hidden), state.map, state.heat.sized(rows, task.heat, true));
    pick_sites(task, score, state);
    const Target box_hidden = state.hidden.sized(rows, task.box_hidden, !task.box.int8);
    convolve_rows(pool, task.box_hidden, shared, state.sites, state.needed.data(), state.needed_count, false,
                  state.slots, box_hidden);
    const Target boxes = state.box.sized(state.picked_count, task.box, true);
    convolve_rows(pool, task.box, read_back(box_hidden), state.sites, state.picked.data(), state.picked_count, true,
                  state.slots, boxes);
    const float* box = boxes.values;
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
        const float* heat = state.heat.values.data() + row * task.heat.width;
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
