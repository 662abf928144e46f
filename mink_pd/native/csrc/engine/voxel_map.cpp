#include "voxel_map.h"

namespace mink_pd::engine {
namespace {

// The occupied columns of the fine grid under a kernel.
class ColumnsBelow {
 public:
    void find(const SiteGrid& fine, VoxelKernel kernel, int64_t x, int64_t y) {
        const int64_t edge = kernel.edge(), first = -(edge / 2);
        count_ = 0;
        for (int64_t i = 0; i < edge; ++i) {
            const int64_t cell = fine.cell(x + first + i, y + first);
            const uint64_t window = fine.window(cell);
            int32_t row = fine.rank(cell);
            for (int64_t j = 0; j < edge; ++j) {
                const int32_t there = window >> j & 1;
                columns_[count_] = {row, int32_t(j * edge + i)};
                count_ += there, row += there;
            }
        }
    }
    // Calls use(row of the column, place in a layer of the kernel) for each.
    template <typename Use>
    void for_each(Use&& use) const {
        for (int64_t i = 0; i < count_; ++i) use(columns_[i].row, columns_[i].place);
    }

 private:
    struct Column {
        int32_t row, place;
    };
    int64_t count_ = 0;
    Column columns_[10];  // one that is not there is written behind the last
};

// The first row of a plane of equal x, or of one behind it.
int32_t row_of_plane(const VoxelGrid& grid, int64_t x) {
    return grid.heights.rank(grid.heights.cell(grid.columns.rank(grid.columns.cell(x, 0)), 0));
}

}  // namespace

void VoxelMap::cut(const VoxelGrid& fine, const VoxelGrid& coarse, VoxelKernel kernel, int64_t stride,
                   int64_t stride_z) {
    fine_ = &fine, coarse_ = &coarse, kernel_ = kernel, stride_ = stride, stride_z_ = stride_z;
    memory_.sized(tiles() * PairSlots::size(kernel.volume(), ROWS));
}

void VoxelMap::find(int64_t tile) {
    PairSlots slots = pairs(tile);
    slots.clear();
    const SiteGrid &columns = coarse_->columns, &heights = coarse_->heights;
    const int64_t layer = kernel_.edge() * kernel_.edge();
    ColumnsBelow below;
    int64_t last = -1;  // the column that they are below of
    for (int64_t row = first(tile); row < first(tile) + count(tile); ++row) {
        const int64_t site = heights.cells()[row], column = heights.x_of(site);
        if (column != last) {
            const int64_t cell = columns.cells()[column];
            below.find(fine_->columns, kernel_, columns.x_of(cell) * stride_, columns.y_of(cell) * stride_);
            last = column;
        }
        const int64_t lowest = heights.y_of(site) * stride_z_ - 1;
        below.for_each([&](int64_t below_row, int64_t place) {
            const int64_t cell = fine_->heights.cell(below_row, lowest);
            const uint64_t window = fine_->heights.window(cell);
            int32_t source = fine_->heights.rank(cell);
            for (int64_t k = 0; k < 3; ++k) {
                const int32_t there = window >> k & 1;
                slots.add(k * layer + place, source, row, there);
                source += there;
            }
        });
    }
}

int64_t VoxelMap::x_of(int64_t row) const {
    return coarse_->columns.x_of(coarse_->columns.cells()[coarse_->heights.x_of(coarse_->heights.cells()[row])]);
}

Range VoxelMap::sources(int64_t tile) const {
    const int64_t reach = kernel_.edge() / 2;
    const int64_t from = x_of(first(tile)) * stride_ - reach,
                  to = x_of(first(tile) + count(tile) - 1) * stride_ + reach;
    return {row_of_plane(*fine_, from), row_of_plane(*fine_, to + 1)};
}

PairSlots VoxelMap::pairs(int64_t tile) const {
    int32_t* memory = const_cast<int32_t*>(memory_.data()) + tile * PairSlots::size(kernel_.volume(), ROWS);
    return PairSlots(memory, kernel_.volume(), ROWS);
}

}  // namespace mink_pd::engine
