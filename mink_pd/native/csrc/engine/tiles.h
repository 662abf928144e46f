// Kernel maps of two dimensions, cut into tiles of target rows: what one task computes.
#pragma once

#include <cstdint>

#include "buffer.h"
#include "core/pool.h"
#include "flow.h"
#include "layer.h"
#include "site_grid.h"

namespace mink_pd::engine {

// A square kernel: its cells along one axis, from `first` on. The offset of cell (i, j) along x and y is j * edge + i.
struct Kernel {
    int64_t edge, first;

    // Odd edges are centred, even ones begin at 0, as MinkowskiEngine's.
    explicit Kernel(int64_t edge) : edge(edge), first(edge % 2 == 1 ? -(edge / 2) : 0) {}
    int64_t volume() const { return edge * edge; }
};

// Adds to `pairs` the fine sites that lie under the kernel at cell (x, y) of the fine grid, for one target row.
void add_pairs(const SiteGrid& fine, const Kernel& kernel, int64_t x, int64_t y, int64_t target, PairSlots& pairs);

// Pairs (fine row, coarse row) of a convolution from a fine grid to a coarse one, `stride` times as coarse.
class TileMap {
 public:
    // Cuts the coarse rows into tiles for so many threads. The grids must stay where they are.
    void cut(int64_t threads, const SiteGrid& fine, const SiteGrid& coarse, const Kernel& kernel, int64_t stride);
    // The pairs of one tile.
    void find(int64_t tile);
    // Both of the above, for all tiles.
    void find(Pool& pool, const SiteGrid& fine, const SiteGrid& coarse, const Kernel& kernel, int64_t stride);
    // Rows of the fine grid among which are all that a tile needs.
    Range sources(int64_t tile) const;
    // The tiles that hold these coarse rows.
    Range tiles_of(Range rows) const { return {rows.first / height_, (rows.last + height_ - 1) / height_}; }

    int64_t tiles() const { return (rows_ + height_ - 1) / height_; }
    int64_t first(int64_t tile) const { return tile * height_; }
    int64_t count(int64_t tile) const { return std::min(height_, rows_ - tile * height_); }
    PairSlots pairs(int64_t tile) const;

 private:
    const SiteGrid *fine_ = nullptr, *coarse_ = nullptr;
    Kernel kernel_{1};
    int64_t stride_ = 1, rows_ = 0, height_ = 1;
    Buffer<int32_t> memory_;
};

// The layer for the rows of a tile, or for all rows of a map, to y, where the map's first row is.
void convolve(const Layer& layer, Source x, const TileMap& map, int64_t tile, Target y);
void convolve(Pool& pool, const Layer& layer, Source x, const TileMap& map, Target y);

}  // namespace mink_pd::engine
