// The feature pyramid: a level at the stride of each stage (SparseFpn in mink_pd/models/layers/necks.py).
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "core/pool.h"
#include "layer.h"
#include "model_file.h"
#include "site_grid.h"
#include "tiles.h"

namespace mink_pd::engine {

// Features of a stage at its sites.
struct StageRows {
    const SiteGrid* sites;
    Source rows;
};

// What a cloud makes of a FpnNeck; levels finest first.
struct FpnState {
    struct Level {
        SiteGrid sites;  // all cells of the level inside the sites of the coarsest stage
        TileMap own, around;
        Buffer<float> lateral;         // (sites of the stage, width)
        Buffer<float> sums, features;  // (sites, width): before the last convolution, and after it
    };
    std::vector<Level> levels;
};

class FpnNeck {
 public:
    // `channels` and `strides` of the stages; strides are counted from the input's.
    FpnNeck(const ModelFile& file, const std::vector<int64_t>& channels, const std::vector<int64_t>& strides);

    int64_t levels() const { return int64_t(outputs_.size()); }
    int64_t stride(int64_t level) const { return strides_[level]; }
    // Of a row of a level.
    Channels row() const { return {outputs_.front().out, outputs_.front().width}; }

    void run(Pool& pool, const std::vector<StageRows>& stages, FpnState& state) const;

 private:
    void add_up(Pool& pool, const SiteGrid& stage, const FpnState::Level* above, int64_t step,
                FpnState::Level& level) const;

    std::vector<int64_t> strides_;
    std::vector<Layer> laterals_, outputs_;
};

}  // namespace mink_pd::engine
