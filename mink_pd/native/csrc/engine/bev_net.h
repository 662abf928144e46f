// Backbone and neck in the bird's-eye view at occupied sites (SparseBev and SparseSecondNeck in mink_pd/models).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "buffer.h"
#include "core/pool.h"
#include "flow.h"
#include "fpn_neck.h"
#include "layer.h"
#include "model_file.h"
#include "site_grid.h"
#include "tiles.h"

namespace mink_pd::engine {

// What a cloud makes of a BevNet: the sites and maps of each stage, and its features.
struct BevState {
    struct Stage {
        SiteGrid sites;
        TileMap down, same;
        Buffer<float> features, spare;  // (rows, width)
        Buffer<uint8_t> codes, spare_codes;
        Source result{};  // of the last layer
    };
    // A convolution of a stage. `finds`: it is the first one that uses its map, and finds the map's pairs.
    struct Step {
        const Layer* layer;
        TileMap* map;
        bool finds;
        Source x;
        Target y;
    };
    std::vector<Stage> stages;
    std::vector<Step> steps;
    Flow flow;
    FpnState fpn;
    std::vector<StageRows> stage_rows;  // what it reads
    Buffer<uint8_t> codes;              // of the input
};

class BevNet {
 public:
    // `in`: channels of the input.
    BevNet(const ModelFile& file, int64_t in);

    // Cells of the input's grid that a cell of the coarsest stage covers along an axis.
    int64_t whole() const { return whole_; }
    // Cells of the neck that a cell of the coarsest stage covers along an axis, and altogether.
    int64_t children_edge() const { return edge_; }
    int64_t children() const { return edge_ * edge_; }
    // The stride of the neck, or of its finest level, over the input's.
    int64_t stride() const { return stride_; }
    // The feature pyramid, whose levels run() computes; null where the neck is that of SECOND, which neck() computes.
    const FpnNeck* fpn() const { return fpn_ ? &*fpn_ : nullptr; }
    // A row of the neck: the parts of all stages side by side, each padded; and its channels without what pads them.
    int64_t width() const { return width_; }
    int64_t channels() const;
    // The same as the input of a head's layer.
    std::vector<Channels> row() const;
    // Throws Error unless a head's layer finds in the neck what it reads.
    void check_reads(const Layer& layer) const;

    // All stages, from x (sites, in padded).
    void run(Pool& pool, const SiteGrid& sites, const float* x, BevState& state) const;
    // Numbers that neck() needs for so many sites.
    int64_t slots(int64_t sites) const;
    // The neck at the children of sites first .. first + count - 1 of the coarsest stage: y (count * children,
    // width()). Child (i, j) along x and y is row i * edge + j of its site.
    void neck(const BevState& state, int64_t first, int64_t count, int32_t* slots, Target y) const;

 private:
    struct Stage {
        int64_t stride;
        std::vector<Layer> layers;
        bool last_floats;  // whether the last layer's result is read as floats
    };
    // A stage's way to the neck: a convolution at the neck's stride, one from a finer stage, or a transposed one.
    struct Part {
        Layer layer;
        Kernel kernel;
        int64_t step;  // 2^shift, as all strides
        int shift;
        bool coarser;
    };

    // Numbers the sites of all stages and lists their convolutions.
    void plan(int64_t threads, const SiteGrid& sites, Source x, BevState& state) const;
    // The input with its codes if they are wanted.
    Source read_input(Pool& pool, int64_t rows, const float* x, Buffer<uint8_t>& codes) const;
    void add_fpn(const ModelFile& file, const std::vector<int64_t>& strides);
    void add_part(const ModelFile& file, size_t number, const std::vector<int64_t>& strides, size_t neck_stage);

    std::vector<Stage> stages_;
    std::vector<Part> parts_;
    std::optional<FpnNeck> fpn_;
    float step_in_;  // of the input's codes; 0: none are wanted
    int64_t whole_ = 1, edge_ = 1, stride_ = 1, width_ = 0;
};

}  // namespace mink_pd::engine
