// Kernel maps of three dimensions, cut into tiles of target rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "buffer.h"
#include "flow.h"
#include "layer.h"
#include "voxel_grid.h"

namespace mink_pd::engine {

// A kernel of three cells along z, and as many or one along x and y. The offset of cell (i, j, k) along x, y and z is
// (k * edge + j) * edge + i.
struct VoxelKernel {
    bool flat;

    int64_t edge() const { return flat ? 1 : 3; }
    int64_t volume() const { return 3 * edge() * edge(); }
};

// Pairs (fine row, coarse row) of a convolution from a fine grid to a coarse one.
class VoxelMap {
 public:
    // Cuts the coarse rows into tiles. The coarse grid is `stride` times as coarse along x and y, `stride_z` times
    // along z. The grids must stay where they are.
    void cut(const VoxelGrid& fine, const VoxelGrid& coarse, VoxelKernel kernel, int64_t stride, int64_t stride_z);
    // The pairs of one tile.
    void find(int64_t tile);
    // Rows of the fine grid among which are all that a tile needs.
    Range sources(int64_t tile) const;
    // The tiles that hold these coarse rows.
    Range tiles_of(Range rows) const { return {rows.first / ROWS, (rows.last + ROWS - 1) / ROWS}; }

    int64_t tiles() const { return (coarse_->rows() + ROWS - 1) / ROWS; }
    int64_t first(int64_t tile) const { return tile * ROWS; }
    int64_t count(int64_t tile) const { return std::min(ROWS, coarse_->rows() - tile * ROWS); }
    PairSlots pairs(int64_t tile) const;

 private:
    static constexpr int64_t ROWS = 256;  // of a tile: few of a row's 27 neighbours are there

    int64_t x_of(int64_t row) const;  // of a coarse row

    const VoxelGrid *fine_ = nullptr, *coarse_ = nullptr;
    VoxelKernel kernel_{false};
    int64_t stride_ = 1, stride_z_ = 1;
    Buffer<int32_t> memory_;
};

}  // namespace mink_pd::engine
