#include "bev_net.h"

#include <algorithm>
#include <bit>
#include <string>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t COARSEST =
    64;  // stride of the last stage: a line of the cells in one of its sites is one word of bits

}  // namespace

BevNet::BevNet(const ModelFile& file, int64_t in) {
    const Json& description = file.description()["bev"];
    const auto strides = description["strides"].integers(1, 2), layers = description["layers"].integers(1, 100);
    require(!strides.empty() && strides.size() == layers.size() && strides.size() <= 16,
            "its description has stages that do not fit each other");
    const size_t neck_stage = size_t(description["neck_stage"].integer(1, int64_t(strides.size()))) - 1;
    std::vector<int64_t> strides_so_far;
    float step = step_in_ = read_step(file, "encoder");
    for (size_t stage = 0; stage < strides.size(); ++stage) {
        whole_ *= strides[stage];
        strides_so_far.push_back(whole_);
        require(whole_ <= COARSEST, "has stages of too large strides");
        stages_.push_back({strides[stage], {}, false});
        for (int64_t l = 0; l < layers[stage]; ++l) {
            const std::string name = "stages." + std::to_string(stage) + "." + std::to_string(l);
            stages_.back().layers.push_back(Layer::read(file, name, Kernel(3).volume(), in, true));
            const Layer& last = stages_.back().layers.back();
            last.check_reads(step);
            in = last.out, step = last.step;
        }
    }
    if (description["fpn"].boolean()) {
        add_fpn(file, strides_so_far);
        return;
    }
    stride_ = strides_so_far[neck_stage], edge_ = whole_ / stride_;
    for (size_t stage = 0; stage < strides.size(); ++stage) {
        add_part(file, stage, strides_so_far, neck_stage);
        const bool last = stage + 1 == strides.size();
        stages_[stage].last_floats = !parts_[stage].layer.int8 || (!last && !stages_[stage + 1].layers[0].int8);
    }
}

void BevNet::add_part(const ModelFile& file, size_t number, const std::vector<int64_t>& strides, size_t neck_stage) {
    const int64_t own = strides[number], goal = strides[neck_stage], step = std::max(own / goal, goal / own);
    const Kernel kernel(step > 1 ? step : 3);
    const std::string name = "neck." + std::to_string(number);
    parts_.push_back({Layer::read(file, name, kernel.volume(), stages_[number].layers.back().out, true), kernel, step,
                      std::countr_zero(uint64_t(step)), own > goal});
    parts_.back().layer.check_reads(stages_[number].layers.back().step);
    width_ += parts_.back().layer.width;
}

void BevNet::add_fpn(const ModelFile& file, const std::vector<int64_t>& strides) {
    std::vector<int64_t> channels;
    for (Stage& stage : stages_) {
        channels.push_back(stage.layers.back().out);
        stage.last_floats = true;
    }
    fpn_.emplace(file, channels, strides);
    stride_ = strides.front(), edge_ = whole_ / stride_, width_ = fpn_->row().width;
}

int64_t BevNet::channels() const {
    int64_t sum = 0;
    for (const Channels& part : row()) sum += part.count;
    return sum;
}

std::vector<Channels> BevNet::row() const {
    if (fpn_) return {fpn_->row()};
    std::vector<Channels> result;
    for (const Part& part : parts_) result.push_back({part.layer.out, part.layer.width});
    return result;
}

void BevNet::check_reads(const Layer& layer) const {
    if (fpn_) layer.check_reads(0);
    for (const Part& part : parts_) layer.check_reads(part.layer.step);
}

Source BevNet::read_input(Pool& pool, int64_t rows, const float* x, Buffer<uint8_t>& codes) const {
    const int64_t width = padded(stages_[0].layers[0].in);
    if (!stages_[0].layers[0].int8) return {x, width};
    uint8_t* to = codes.sized(rows * width);
    split_tasks(pool, rows, [&](int64_t first, int64_t last) {
        write_codes(x + first * width, width, last - first, width, step_in_, to + first * width);
    });
    return {x, width, to};
}

void BevNet::plan(int64_t threads, const SiteGrid& sites, Source x, BevState& state) const {
    state.stages.resize(stages_.size());
    state.steps.clear();
    state.flow.clear();
    const SiteGrid* finer = &sites;
    for (size_t number = 0; number < stages_.size(); ++number) {
        const Stage& stage = stages_[number];
        BevState::Stage& here = state.stages[number];
        stride_sites(*finer, stage.stride, here.sites);
        here.down.cut(threads, *finer, here.sites, Kernel(3), stage.stride);
        here.same.cut(threads, here.sites, here.sites, Kernel(3), 1);
        int64_t widest = 0;
        for (const Layer& layer : stage.layers) widest = std::max(widest, layer.width);
        for (Buffer<float>* buffer : {&here.features, &here.spare}) buffer->sized(here.sites.rows() * widest);
        for (Buffer<uint8_t>* buffer : {&here.codes, &here.spare_codes}) buffer->sized(here.sites.rows() * widest);
        for (size_t l = 0; l < stage.layers.size(); ++l) {
            const Layer& layer = stage.layers[l];
            std::swap(here.features, here.spare);  // x may be what the spare one holds now
            std::swap(here.codes, here.spare_codes);
            const bool floats = l + 1 < stage.layers.size() ? !stage.layers[l + 1].int8 : stage.last_floats;
            const Target y{here.features.data(), layer.width, layer.step > 0 ? here.codes.data() : nullptr, floats};
            state.steps.push_back({&layer, l == 0 ? &here.down : &here.same, l <= 1, x, y});
            state.flow.add_step(state.steps.back().map->tiles());
            x = {y.values, y.stride, y.codes};
        }
        here.result = x;
        finer = &here.sites;
    }
}

void BevNet::run(Pool& pool, const SiteGrid& sites, const float* x, BevState& state) const {
    plan(pool.threads(), sites, read_input(pool, sites.rows(), x, state.codes), state);
    // What a tile needs includes all tiles that read the rows that it overwrites: they lie under the same kernel.
    const auto needs = [&](int64_t step, int64_t tile) {
        return state.steps[step - 1].map->tiles_of(state.steps[step].map->sources(tile));
    };
    state.flow.run(pool, needs, [&](int64_t number, int64_t tile) {
        const BevState::Step& step = state.steps[number];
        if (step.finds) step.map->find(tile);
        convolve(*step.layer, step.x, *step.map, tile, step.y);
    });
    if (!fpn_) return;
    std::vector<StageRows>& rows = state.stage_rows;
    rows.clear();
    for (const BevState::Stage& stage : state.stages) rows.push_back({&stage.sites, stage.result});
    fpn_->run(pool, rows, state.fpn);
}

int64_t BevNet::slots(int64_t sites) const {
    int64_t most = 0;
    for (const Part& part : parts_) most = std::max(most, PairSlots::size(part.kernel.volume(), sites * children()));
    return most;
}

void BevNet::neck(const BevState& state, int64_t first, int64_t count, int32_t* memory, Target y) const {
    const SiteGrid& sites = state.stages.back().sites;
    const int64_t rows = count * children();
    const auto for_each_child = [&](auto&& use) {  // of all sites, in the order of the rows
        for (int64_t site = 0, row = 0; site < count; ++site) {
            const int64_t cell = sites.cells()[first + site];
            const int64_t x = sites.x_of(cell) * edge_, y = sites.y_of(cell) * edge_;
            for (int64_t i = 0; i < edge_; ++i)
                for (int64_t j = 0; j < edge_; ++j) use(x + i, y + j, row++);
        }
    };
    for (size_t number = 0; number < parts_.size(); ++number) {
        const Part& part = parts_[number];
        const BevState::Stage& stage = state.stages[number];
        PairSlots pairs(memory, part.kernel.volume(), rows);
        pairs.clear();
        if (part.coarser)
            for_each_child([&](int64_t x, int64_t y, int64_t row) {
                const int64_t cell = stage.sites.cell(x >> part.shift, y >> part.shift), inside = part.step - 1;
                const int64_t offset = ((y & inside) << part.shift) + (x & inside);
                pairs.add(offset, stage.sites.rank(cell), row, stage.sites.has(cell));
            });
        else
            for_each_child([&](int64_t x, int64_t y, int64_t row) {
                add_pairs(stage.sites, part.kernel, x << part.shift, y << part.shift, row, pairs);
            });
        convolve(part.layer, stage.result, pairs, y, 0, rows);
        y = y.at(0, part.layer.width);
    }
}

}  // namespace mink_pd::engine
