// Points sorted into voxels.
#pragma once

#include <cstdint>

#include "memory.h"
#include "pool.h"

namespace mink_pd {

// Values (count, columns), x, y, z first, and the frame of each point.
struct FramePoints {
    const float* values;
    const int64_t* frame;
    int64_t count, columns;
};

// `shape` cells of `size` from `lower` on, along x, y, z. With 2 dimensions the cells are not told apart along z.
struct VoxelGrid {
    float lower[3], size[3];
    int64_t shape[3], dimensions;
};

// Where the result goes: coordinates (M, 1 + dimensions) in ascending order, the points inside (Q, columns) in their
// order, the row of each (Q,), and the number of points of each row (M,).
struct VoxelMemory {
    Allocate<int32_t> coordinates;
    Allocate<float> points;
    Allocate<int64_t> rows, counts;
};

void voxelise(Pool& pool, const FramePoints& points, int64_t frames, const VoxelGrid& grid, const VoxelMemory& result);

}  // namespace mink_pd
