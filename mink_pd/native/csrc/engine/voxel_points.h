// Points sorted into voxels, each described by the mean of its points.
#pragma once

#include <cstdint>

#include "buffer.h"
#include "pillar_points.h"
#include "voxel_grid.h"

namespace mink_pd::engine {

class VoxelPoints {
 public:
    // The lowest cells of the grid have height `lift`.
    void sort(const PointPlan& plan, const Cloud& cloud, int64_t lift);

    const VoxelGrid& grid() const { return grid_; }
    // Means of what the network sees of the points (rows, padded), 0 behind the channels.
    const float* means() const { return means_.data(); }

 private:
    void add_up(const PointPlan& plan, const Cloud& cloud);

    VoxelGrid grid_;
    Buffer<int32_t> cell_, height_, count_;  // of each point: its column's cell, then its voxel's; of each voxel
    Buffer<float> means_;
};

}  // namespace mink_pd::engine
