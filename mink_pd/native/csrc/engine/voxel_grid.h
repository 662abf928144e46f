// Sites of three dimensions: the columns that hold any, seen from above, and the occupied heights of each column.
#pragma once

#include <cstdint>

#include "site_grid.h"

namespace mink_pd::engine {

// Rows are those of `heights`, in the order of x, y, z. There, x is the column's row in `columns`, and y is the height.
struct VoxelGrid {
    SiteGrid columns, heights;

    int64_t rows() const { return heights.rows(); }
    // Empties the heights, so many of each column, once the columns are numbered. Throws Error if they are too many.
    void clear_heights(int64_t cells_z);
};

// Cells 0 .. x - 1, 0 .. y - 1 and z_low .. z_high.
struct Bounds {
    int64_t x, y, z_low, z_high;
};

// The sites of a convolution of three cells along z and of stride 2 there, which writes wherever any site of `fine`
// lies under its kernel. Along x and y its kernel and stride are the same, or with `flat` 1. The coarse grid is made up
// to a multiple of `whole` cells along x and y.
void halve_sites(const VoxelGrid& fine, bool flat, const Bounds& bounds, int64_t whole, VoxelGrid& coarse);

}  // namespace mink_pd::engine
