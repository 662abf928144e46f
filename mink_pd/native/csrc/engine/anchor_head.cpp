#include "anchor_head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t ROWS_AT_ONCE = 128;  // of the neck, in a task
constexpr float PI = float(std::numbers::pi);
const float LARGEST = float(std::log(50.0));  // of log sizes

// A linear map (out, channels) and a bias (out,) as a layer of one offset on the padded rows of the neck.
Layer linear(const ModelFile& file, const std::string& name, const BevNet& bev, int64_t out) {
    Layer layer = Layer::read(file, name, 1, bev.row(), false);
    require(layer.out == out, "has an anchor head of another shape than its description says");
    bev.check_reads(layer);
    return layer;
}

// As torch.remainder: in 0 .. by.
float remainder(float value, float by) {
    const float rest = std::fmod(value, by);
    return rest < 0 ? rest + by : rest;
}

}  // namespace

AnchorHead::AnchorHead(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes,
                       int64_t stride)
    : classes_(classes), sites_(bev.fpn() ? ROWS_AT_ONCE : std::max<int64_t>(1, ROWS_AT_ONCE / bev.children())) {
    const Json& head = file.description()["head"];
    const int64_t levels = bev.fpn() ? bev.fpn()->levels() : 1;
    const auto &anchors = head["anchors"].list(), &steps = head["steps"].list();
    require(int64_t(anchors.size()) == levels && int64_t(steps.size()) == levels,
            "its description has anchors of other levels than its neck");
    for (int64_t level = 0; level < levels; ++level) {
        const int64_t coarser = bev.fpn() ? bev.fpn()->stride(level) / bev.fpn()->stride(0) : 1;
        const auto step = steps[level].numbers(2);
        levels_.push_back({{}, CellPlan(points, stride * coarser), {float(step[0]), float(step[1])}});
        for (const Json& anchor : anchors[level].list()) {
            const auto size = anchor["size"].numbers(3);
            const float length = float(size[0]), width = float(size[1]);
            levels_.back().anchors.push_back({float(anchor["z"].number()), length, width, float(size[2]),
                                              float(anchor["yaw"].number()),
                                              std::sqrt(length * length + width * width)});
        }
        require(levels_.back().anchors.size() == levels_.front().anchors.size(),
                "its description has other anchors at each level");
    }
    const int64_t kinds = int64_t(levels_.front().anchors.size());
    require(kinds > 0 && kinds <= 1000, "its description has no anchors");
    direction_offset_ = float(head["direction_offset"].number());
    velocity_ = head["velocity"].boolean(), at_ends_ = head["places"].text() == "ends";
    scores_ = linear(file, "head.scores", bev, kinds * classes);
    others_ = linear(file, "head.others", bev, kinds * (velocity_ ? 11 : 9));
}

AnchorHead::Place AnchorHead::place_of(const Level& level, int64_t x, int64_t y, int64_t order) const {
    const CellPlan& cells = level.cells;
    if (at_ends_) return {cells.lower[0] + float(x) * level.step[0], cells.lower[1] + float(y) * level.step[1], order};
    return {cells.centre(0, x), cells.centre(1, y), order};
}

std::unique_ptr<Head::State> AnchorHead::make_state(int64_t threads) const {
    auto state = std::make_unique<State>();
    state->threads.resize(threads);
    return state;
}

void AnchorHead::run(Pool& pool, const BevNet& bev, const BevState& stages, float score, Head::State& state,
                     std::vector<Candidate>& candidates) const {
    auto& threads = static_cast<State&>(state).threads;
    const int64_t most = bev.fpn() ? sites_ : sites_ * bev.children();  // rows of a task
    for (Memory& memory : threads) {  // those of threads that get no task too: the next cloud may give them one
        memory.candidates.clear(), memory.finite = true;
        memory.neck.sized(most * bev.width()), memory.codes.sized(most * bev.width());
        memory.slots.sized(bev.slots(sites_)), memory.rows.sized(2 * most);
        memory.scores.sized(most * scores_.width), memory.others.sized(most * others_.width);
    }
    int64_t before = 0;  // cells of the levels before
    for (int64_t level = 0; level < int64_t(levels_.size()); ++level) {
        const SiteGrid& grid = bev.fpn() ? stages.fpn.levels[level].sites : stages.stages.back().sites;
        std::atomic<size_t> started{0};
        share_tasks(pool, (grid.rows() + sites_ - 1) / sites_, [&](auto& take) {
            Memory& memory = threads[started.fetch_add(1)];
            for (int64_t task; (task = take()) >= 0;) {
                const int64_t first = task * sites_, count = std::min(sites_, grid.rows() - first);
                if (bev.fpn())
                    run_level(bev, stages, level, first, count, before, score, memory);
                else
                    run_some(bev, stages, first, count, score, memory);
            }
        });
        before += grid.cells_x() * grid.cells_y();
    }
    for (const Memory& memory : threads) {
        if (!memory.finite) throw NotFinite();
        candidates.insert(candidates.end(), memory.candidates.begin(), memory.candidates.end());
    }
    for (Memory& memory : threads) memory.candidates.reserve(candidates.size());
}

void AnchorHead::run_some(const BevNet& bev, const BevState& state, int64_t first, int64_t count, float score,
                          Memory& memory) const {
    const int64_t rows = count * bev.children(), width = bev.width();
    const bool codes = scores_.int8 || others_.int8, floats = !scores_.int8 || !others_.int8;
    const Target y{memory.neck.sized(rows * width), width, codes ? memory.codes.sized(rows * width) : nullptr, floats};
    bev.neck(state, first, count, memory.slots.sized(bev.slots(count)), y);
    const SiteGrid& sites = state.stages.back().sites;
    const int64_t edge = bev.children_edge();
    read({y.values, width, y.codes}, rows, levels_.front(), score, memory, [&](int64_t row) {
        const int64_t cell = sites.cells()[first + row / bev.children()], child = row % bev.children();
        const int64_t at_x = sites.x_of(cell) * edge + child / edge, at_y = sites.y_of(cell) * edge + child % edge;
        return place_of(levels_.front(), at_x, at_y, at_x * sites.cells_y() * edge + at_y);
    });
}

void AnchorHead::run_level(const BevNet& bev, const BevState& state, int64_t number, int64_t first, int64_t count,
                           int64_t before, float score, Memory& memory) const {
    const FpnState::Level& level = state.fpn.levels[number];
    const SiteGrid& sites = level.sites;
    const Source neck{level.features.data() + first * bev.width(), bev.width()};
    read(neck, count, levels_[number], score, memory, [&](int64_t row) {
        const int64_t cell = sites.cells()[first + row], x = sites.x_of(cell), y = sites.y_of(cell);
        return place_of(levels_[number], x, y, before + x * sites.cells_y() + y);
    });
}

template <typename PlaceOf>
void AnchorHead::read(Source neck, int64_t rows, const Level& level, float score, Memory& memory,
                      PlaceOf&& place_of) const {
    int32_t* every = memory.rows.sized(2 * rows);
    for (int64_t row = 0; row < rows; ++row) every[row] = int32_t(row);
    const auto apply = [&](const Layer& layer, const int32_t* from, int64_t some, Buffer<float>& to) {
        const Target result{to.sized(some * layer.width), layer.width};
        layer.begin(result, some);
        layer.add(0, {from, every, some}, neck, result, 0);
        layer.finish(result, some);
    };
    apply(scores_, every, rows, memory.scores);
    int64_t picked = 0;
    memory.finite &= pick_rows(rows, lowest_logit(score), memory, picked);
    if (picked == 0) return;
    const int32_t* wanted = every + rows;
    apply(others_, wanted, picked, memory.others);
    for (int64_t i = 0; i < picked; ++i)
        decode(memory.scores.data() + wanted[i] * scores_.width, memory.others.data() + i * others_.width,
               level.anchors, place_of(wanted[i]), score, memory);
}

// Lists the rows with a logit of at least so much behind the first `rows` of memory.rows; whether all are finite.
bool AnchorHead::pick_rows(int64_t rows, float logit, Memory& memory, int64_t& picked) const {
    int32_t* wanted = memory.rows.data() + rows;
    Vector sums{};  // of products with 0
    for (int64_t row = 0; row < rows; ++row) {
        const float* scores = memory.scores.data() + row * scores_.width;
        float highest = scores[0];
        for (int64_t c = 1; c < scores_.out; ++c) highest = std::max(highest, scores[c]);
        for (int64_t c = 0; c < scores_.width; c += LANES) sums += load(scores + c) * 0.f;
        wanted[picked] = int32_t(row);
        picked += highest >= logit;
    }
    bool finite = true;
    for (int lane = 0; lane < LANES; ++lane) finite &= sums[lane] == 0;
    return finite;
}

void AnchorHead::decode(const float* scores, const float* others, const std::vector<Anchor>& anchors,
                        const Place& place, float score, Memory& memory) const {
    const int64_t kinds = int64_t(anchors.size());
    for (int64_t kind = 0; kind < kinds; ++kind)
        for (int64_t label = 0; label < classes_; ++label) {
            const float own = sigmoid(scores[kind * classes_ + label]);
            if (!(own >= score)) continue;
            const Anchor& anchor = anchors[kind];
            const float *box = others + kind * 7, *direction = others + kinds * 7 + kind * 2;
            const auto size = [&](int axis, float edge) {
                return std::exp(std::min(std::max(box[3 + axis], -LARGEST), LARGEST)) * edge;
            };
            Candidate result{};
            result.box.x = box[0] * anchor.diagonal + place.x, result.box.y = box[1] * anchor.diagonal + place.y;
            result.box.z = box[2] * anchor.height + anchor.z;
            result.box.length = size(0, anchor.length), result.box.width = size(1, anchor.width);
            result.box.height = size(2, anchor.height);
            result.box.yaw = remainder(box[6] + anchor.yaw - direction_offset_, PI) + direction_offset_ +
                             PI * float(direction[1] > direction[0]);
            const float* velocity = others + kinds * 9 + kind * 2;
            result.box.velocity_x = velocity_ ? velocity[0] : NAN;
            result.box.velocity_y = velocity_ ? velocity[1] : NAN;
            result.box.score = own, result.box.label = int32_t(label);
            result.group = int32_t(label), result.order = place.order * kinds + kind;
            memory.finite &= std::isfinite(result.box.x + result.box.y + result.box.z + box[6]);
            memory.candidates.push_back(result);
        }
}

}  // namespace mink_pd::engine
