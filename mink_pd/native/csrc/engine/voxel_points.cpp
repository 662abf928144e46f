#include "voxel_points.h"

#include <algorithm>

#include "core/blocks.h"

namespace mink_pd::engine {
namespace {

constexpr int32_t OUTSIDE = -1;

}  // namespace

void VoxelPoints::sort(const PointPlan& plan, const Cloud& cloud, int64_t lift) {
    SiteGrid &columns = grid_.columns, &heights = grid_.heights;
    columns.clear(plan.cells(0), plan.cells(1));
    int32_t *cells = cell_.sized(cloud.count), *height = height_.sized(cloud.count);
    std::fill(cells, cells + cloud.count, OUTSIDE);
    plan.locate(cloud, 0, cloud.count, [&](int64_t p, int64_t x, int64_t y, int64_t z) {
        const int64_t cell = columns.cell(x, y);
        columns.set(cell);
        cells[p] = int32_t(cell), height[p] = int32_t(z + lift);
    });
    columns.number();
    grid_.clear_heights(plan.cells(2) + lift);
    for (int64_t p = 0; p < cloud.count; ++p) {
        if (cells[p] == OUTSIDE) continue;
        cells[p] = int32_t(heights.cell(columns.rank(cells[p]), height[p]));
        heights.set(cells[p]);
    }
    heights.number();
    add_up(plan, cloud);
}

// In the order of the cloud, as the torch path adds.
void VoxelPoints::add_up(const PointPlan& plan, const Cloud& cloud) {
    const int64_t seen = int64_t(plan.seen.size()), width = padded(seen), rows = grid_.rows();
    const int64_t most = plan.most > 0 ? plan.most : cloud.count;
    float* means = means_.sized(rows * width);
    int32_t* counts = count_.sized(rows);
    std::fill(means, means + rows * width, 0.f);
    std::fill(counts, counts + rows, 0);
    for (int64_t p = 0; p < cloud.count; ++p) {
        if (cell_[p] == OUTSIDE) continue;
        const int32_t row = grid_.heights.rank(cell_[p]);
        if (counts[row] == most) continue;
        ++counts[row];
        const float* from = cloud.values + p * cloud.stride;
        for (int64_t c = 0; c < seen; ++c) means[row * width + c] += from[plan.seen[c]];
    }
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t c = 0; c < seen; ++c) means[row * width + c] /= float(counts[row]);
}

}  // namespace mink_pd::engine
