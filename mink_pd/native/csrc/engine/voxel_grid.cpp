#include "voxel_grid.h"

#include <limits>

#include "core/error.h"

namespace mink_pd::engine {
namespace {

// The cells of a coarse axis from which a kernel of three cells and stride 2 reaches a fine cell: one or two.
struct Reaching {
    int64_t first, last;

    Reaching(int64_t fine, bool halved) : first(halved ? fine / 2 : fine), last(halved ? (fine + 1) / 2 : fine) {}
};

}  // namespace

void VoxelGrid::clear_heights(int64_t cells_z) {
    const int64_t line = 2 * cells_z + 64;  // at least the cells that a line of the grid takes
    require(columns.rows() + 2 < std::numeric_limits<int32_t>::max() / line, "the cloud has too many voxels");
    heights.clear(columns.rows(), cells_z);
}

void halve_sites(const VoxelGrid& fine, bool flat, const Bounds& bounds, int64_t whole, VoxelGrid& coarse) {
    const auto made_up = [&](int64_t cells) { return (cells + whole - 1) / whole * whole; };
    // Calls use(x, y, z) for every coarse site and every fine one that reaches it.
    const auto for_each = [&](auto&& use) {
        for (int64_t row = 0; row < fine.rows(); ++row) {
            const int64_t site = fine.heights.cells()[row], column = fine.columns.cells()[fine.heights.x_of(site)];
            const Reaching x(fine.columns.x_of(column), !flat), y(fine.columns.y_of(column), !flat);
            const Reaching z(fine.heights.y_of(site), true);
            for (int64_t at_x = x.first; at_x <= x.last && at_x < bounds.x; ++at_x)
                for (int64_t at_y = y.first; at_y <= y.last && at_y < bounds.y; ++at_y)
                    for (int64_t at_z = z.first; at_z <= z.last; ++at_z)
                        if (at_z >= bounds.z_low && at_z <= bounds.z_high) use(at_x, at_y, at_z);
        }
    };
    coarse.columns.clear(made_up(bounds.x), made_up(bounds.y));
    for_each([&](int64_t x, int64_t y, int64_t) { coarse.columns.set(coarse.columns.cell(x, y)); });
    coarse.columns.number();
    coarse.clear_heights(bounds.z_high + 1);
    for_each([&](int64_t x, int64_t y, int64_t z) {
        coarse.heights.set(coarse.heights.cell(coarse.columns.rank(coarse.columns.cell(x, y)), z));
    });
    coarse.heights.number();
}

}  // namespace mink_pd::engine
