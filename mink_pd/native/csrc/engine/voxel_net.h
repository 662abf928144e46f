// The sparse encoder of three dimensions: means of voxels -> one feature for each column at stride 8
// (mink_pd/models/sparse_encoder.py).
#pragma once

#include <cstdint>
#include <vector>

#include "encoder.h"
#include "layer.h"
#include "model_file.h"
#include "voxel_map.h"
#include "voxel_points.h"

namespace mink_pd::engine {

class VoxelNet final : public Encoder {
 public:
    VoxelNet(const ModelFile& file, const PointPlan& points);

    int64_t out() const override { return levels_ * height_.out; }
    int64_t stride() const override { return int64_t(1) << (stages_.size() - 1); }
    std::unique_ptr<Encoder::State> make_state() const override;
    Encoded run(Pool& pool, const Cloud& cloud, int64_t whole, Encoder::State& state) const override;

 private:
    // Convolutions at a stride, of which the first leads to it.
    struct Stage {
        std::vector<Layer> layers;
        Bounds bounds;
    };
    struct State;

    void find_sites(int64_t whole, State& state) const;
    void plan(State& state) const;
    const float* stack(Pool& pool, State& state) const;

    PointPlan points_;
    std::vector<Stage> stages_;  // at strides 1, 2, 4, 8
    Layer height_;               // the last halving of z
    int64_t lift_, levels_;      // height of the lowest cells; levels of height that are stacked
    bool residual_;              // whether pairs of layers after a stage's first add to their input
};

}  // namespace mink_pd::engine
