#include "fpn_neck.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

constexpr int64_t ROWS_AT_ONCE = 256;

}  // namespace

FpnNeck::FpnNeck(const ModelFile& file, const std::vector<int64_t>& channels, const std::vector<int64_t>& strides)
    : strides_(strides) {
    for (size_t level = 0; level < strides.size(); ++level) {
        const std::string name = "neck." + std::to_string(level);
        laterals_.push_back(Layer::read(file, name + ".lateral", 1, channels[level], true));
        const int64_t width = laterals_.back().out;
        outputs_.push_back(Layer::read(file, name + ".output", Kernel(3).volume(), width, true));
        require(width == laterals_.front().out && outputs_.back().out == width && !laterals_.back().int8 &&
                    !outputs_.back().int8,
                "has a feature pyramid whose levels do not fit each other");
    }
}

void FpnNeck::run(Pool& pool, const std::vector<StageRows>& stages, FpnState& state) const {
    state.levels.resize(outputs_.size());
    const FpnState::Level* above = nullptr;
    for (int64_t number = levels() - 1; number >= 0; --number) {
        const SiteGrid& stage = *stages[number].sites;
        const Layer &lateral = laterals_[number], &output = outputs_[number];
        FpnState::Level& level = state.levels[number];
        level.own.find(pool, stage, stage, Kernel(1), 1);
        convolve(pool, lateral, stages[number].rows, level.own,
                 {level.lateral.sized(stage.rows() * lateral.width), lateral.width});
        refine_sites(*stages.back().sites, strides_.back() / strides_[number], level.sites);
        add_up(pool, stage, above, above == nullptr ? 1 : strides_[number + 1] / strides_[number], level);
        level.around.find(pool, level.sites, level.sites, Kernel(3), 1);
        convolve(pool, output, {level.sums.data(), lateral.width}, level.around,
                 {level.features.sized(level.sites.rows() * output.width), output.width});
        above = &level;
    }
}

// The sums of a level: of each cell, those of the cell above that holds it, `step` times as long, and the lateral
// features where the stage has a site.
void FpnNeck::add_up(Pool& pool, const SiteGrid& stage, const FpnState::Level* above, int64_t step,
                     FpnState::Level& level) const {
    const int64_t width = outputs_.front().width, rows = level.sites.rows();
    float* sums = level.sums.sized(rows * width);
    for_each_task(pool, (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, [&](int64_t task) {
        for (int64_t row = task * ROWS_AT_ONCE; row < std::min(rows, (task + 1) * ROWS_AT_ONCE); ++row) {
            const int64_t cell = level.sites.cells()[row], x = level.sites.x_of(cell), y = level.sites.y_of(cell);
            float* to = sums + row * width;
            if (above == nullptr)
                std::fill_n(to, width, 0.f);
            else
                std::copy_n(above->sums.data() + above->sites.rank(above->sites.cell(x / step, y / step)) * width,
                            width, to);
            const int64_t own = stage.cell(x, y);
            if (!stage.has(own)) continue;
            const float* lateral = level.lateral.data() + stage.rank(own) * width;
            for (int64_t c = 0; c < width; c += LANES) store(to + c, load(to + c) + load(lateral + c));
        }
    });
}

}  // namespace mink_pd::engine
