// Bindings of voxels.h, pillars.h, points.h and knn.h.
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include "../core/knn.h"
#include "../core/pillars.h"
#include "../core/points.h"
#include "../core/voxels.h"
#include "check.h"
#include "memory.h"
#include "operators.h"
#include "pool.h"

namespace mink_pd::bindings {
namespace {

PointSets sets_of(const Tensor& xyz) {
    check(xyz, at::kFloat, 3, "xyz");
    TORCH_CHECK(xyz.size(2) == 3, "xyz must be (F, N, 3)");
    check_rows(xyz.size(0), "the number of frames");
    check_rows(xyz.size(1), "the number of points");
    return {xyz.const_data_ptr<float>(), xyz.size(0), xyz.size(1)};
}

// Frames of unequal size: xyz (S, 3), and where each frame starts (F + 1,).
PointSets ragged_sets_of(const Tensor& xyz, const Tensor& start) {
    check(xyz, at::kFloat, 2, "xyz");
    check(start, at::kLong, 1, "start");
    TORCH_CHECK(xyz.size(1) == 3 && start.numel() > 0, "xyz must be (S, 3), and start (F + 1,)");
    const int64_t* first = start.const_data_ptr<int64_t>();
    const int64_t frames = start.numel() - 1;
    bool ascends = first[0] == 0 && first[frames] == xyz.size(0);
    for (int64_t f = 0; f < frames; ++f) ascends &= first[f] <= first[f + 1];
    TORCH_CHECK(ascends, "start must ascend from 0 to the number of points");
    return {xyz.const_data_ptr<float>(), frames, 0, first};
}

// The rows (centres, neighbours) of each radius.
std::vector<Tensor> search_balls(const PointSets& sets, const PointSets& centres, at::ArrayRef<double> radii,
                                 at::IntArrayRef neighbours) {
    TORCH_CHECK(radii.size() == neighbours.size() && !radii.empty(),
                "radii and neighbours must be equally long, and not empty");
    const int64_t total = centres.first(centres.frames);
    std::vector<Tensor> result;
    std::vector<Ball> balls;
    for (size_t r = 0; r < radii.size(); ++r) {
        check_new_rows(neighbours[r], "neighbours");
        check_new_rows(total / 64 * neighbours[r], "neighbours of all centres, over 64,");
        result.push_back(at::empty({total, neighbours[r]}, at::kLong));
        balls.push_back({radii[r], neighbours[r], result.back().mutable_data_ptr<int64_t>()});
    }
    ball_query(torch_threads(), sets, centres, balls);
    return result;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> voxelise(const Tensor& points_, const Tensor& frame_, int64_t frames,
                                                    const Tensor& lower, const Tensor& size, at::IntArrayRef shape,
                                                    int64_t dimensions) {
    const Tensor points = points_.contiguous(), frame = frame_.contiguous();
    check(points, at::kFloat, 2, "points");
    check(frame, at::kLong, 1, "frame");
    TORCH_CHECK(points.size(1) >= 3 && frame.size(0) == points.size(0),
                "points must be (P, 3 or more columns) and frame (P,)");
    check(lower, at::kFloat, 1, "lower");
    check(size, at::kFloat, 1, "size");
    TORCH_CHECK(dimensions == 2 || dimensions == 3, "dimensions must be 2 or 3");
    TORCH_CHECK(lower.numel() == 3 && size.numel() == 3 && shape.size() == 3,
                "lower, size and shape must be given along x, y and z");
    VoxelGrid grid{};
    for (int axis = 0; axis < 3; ++axis) {
        grid.lower[axis] = lower.const_data_ptr<float>()[axis];
        grid.size[axis] = size.const_data_ptr<float>()[axis];
        grid.shape[axis] = shape[axis];
    }
    grid.dimensions = dimensions;
    Tensor coordinates, inside, rows, counts;
    const FramePoints all{points.const_data_ptr<float>(), frame.const_data_ptr<int64_t>(), points.size(0),
                          points.size(1)};
    with_torch_threads([&](Pool& pool) {
        voxelise(pool, all, frames, grid,
                 {into<int32_t>(coordinates, 1 + dimensions), into<float>(inside, points.size(1)), into<int64_t>(rows),
                  into<int64_t>(counts)});
    });
    return {coordinates, inside, rows, counts};
}

std::tuple<Tensor, Tensor> linear_max(const Tensor& x_, const Tensor& weight_, const Tensor& bias_,
                                      const Tensor& group_, const Tensor& counts_) {
    const Tensor x = x_.contiguous(), weight = weight_.contiguous(), bias = bias_.contiguous();
    const Tensor group = group_.contiguous(), counts = counts_.contiguous();
    check(x, at::kFloat, 2, "x");
    check(weight, at::kFloat, 2, "weight");
    check(bias, at::kFloat, 1, "bias");
    check(group, at::kLong, 1, "group");
    check(counts, at::kLong, 1, "counts");
    const int64_t channels = weight.size(0), features = weight.size(1), groups = counts.numel();
    TORCH_CHECK(x.size(1) == features && bias.size(0) == channels, "x must be (P, F), weight (C, F) and bias (C,)");
    TORCH_CHECK(group.numel() == x.size(0), "group must name the group of each row");
    Tensor values = at::empty({groups, channels}, x.options()), winners = at::empty({groups, channels}, at::kInt);
    linear_max(torch_threads(), x.const_data_ptr<float>(),
               {group.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>(), x.size(0), groups},
               {weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), channels, features},
               values.mutable_data_ptr<float>(), winners.mutable_data_ptr<int32_t>());
    return {values, winners};
}

std::tuple<Tensor, Tensor> linear_max_backward(const Tensor& gradient_, const Tensor& x_, const Tensor& winners) {
    const Tensor gradient = gradient_.contiguous(), x = x_.contiguous();
    check(gradient, at::kFloat, 2, "gradient");
    check(x, at::kFloat, 2, "x");
    check(winners, at::kInt, 2, "winners");
    TORCH_CHECK(winners.sizes() == gradient.sizes(), "there must be a winner for each gradient");
    check_rows(x.size(0), "the number of rows");
    const int64_t groups = gradient.size(0), channels = gradient.size(1), features = x.size(1);
    const int64_t parts = parts_of_groups(groups);
    Tensor of_weight = at::empty({parts, channels, features}, x.options());
    Tensor of_bias = at::empty({parts, channels}, x.options());
    linear_max_backward(torch_threads(), gradient.const_data_ptr<float>(), winners.const_data_ptr<int32_t>(), groups,
                        x.const_data_ptr<float>(), x.size(0), features, channels, of_weight.mutable_data_ptr<float>(),
                        of_bias.mutable_data_ptr<float>());
    return {of_weight.sum(0), of_bias.sum(0)};
}

Tensor farthest_points(const Tensor& xyz, int64_t count) {
    const PointSets sets = sets_of(xyz);
    TORCH_CHECK(count >= 0 && count <= sets.points, "there are fewer points than samples");
    Tensor result = at::empty({sets.frames, count}, at::kLong);
    farthest_points(torch_threads(), sets, count, result.mutable_data_ptr<int64_t>());
    return result;
}

std::tuple<Tensor, Tensor> farthest_points_ragged(const Tensor& xyz, const Tensor& start, int64_t count) {
    const PointSets sets = ragged_sets_of(xyz, start);
    check_new_rows(count, "count");
    check_new_rows(sets.frames / 64 * count, "samples of all frames, over 64,");
    Tensor rows = at::empty({sets.frames, count}, at::kLong), found = at::empty({sets.frames}, at::kLong);
    farthest_points(torch_threads(), sets, count, rows.mutable_data_ptr<int64_t>(), found.mutable_data_ptr<int64_t>());
    return {rows, found};
}

std::vector<Tensor> ball_query(const Tensor& xyz, const Tensor& centres, at::ArrayRef<double> radii,
                               at::IntArrayRef neighbours) {
    const PointSets sets = sets_of(xyz);
    check(centres, at::kFloat, 3, "centres");
    TORCH_CHECK(centres.size(2) == 3 && centres.size(0) == sets.frames, "centres must be (F, M, 3), in xyz's frames");
    std::vector<Tensor> result =
        search_balls(sets, {centres.const_data_ptr<float>(), sets.frames, centres.size(1)}, radii, neighbours);
    for (Tensor& rows : result) rows = rows.view({sets.frames, centres.size(1), rows.size(1)});
    return result;
}

std::vector<Tensor> ball_query_ragged(const Tensor& xyz, const Tensor& start, const Tensor& centres,
                                      const Tensor& centre_start, at::ArrayRef<double> radii,
                                      at::IntArrayRef neighbours) {
    const PointSets sets = ragged_sets_of(xyz, start), around = ragged_sets_of(centres, centre_start);
    TORCH_CHECK(sets.frames == around.frames, "there must be as many frames of centres as of points");
    return search_balls(sets, around, radii, neighbours);
}

std::tuple<Tensor, Tensor> points_of_boxes(const Tensor& xyz, const Tensor& boxes, const Tensor& frame, int64_t count) {
    const PointSets sets = sets_of(xyz);
    check(boxes, at::kFloat, 2, "boxes");
    check(frame, at::kLong, 1, "frame");
    TORCH_CHECK(boxes.size(1) == 7 && frame.size(0) == boxes.size(0), "boxes must be (R, 7) and frame (R,)");
    const int64_t total = boxes.size(0);
    check_new_rows(count, "count");
    check_new_rows(total / 64 * count, "points of all boxes, over 64,");
    Tensor rows = at::empty({total, count}, at::kLong), filled = at::empty({total}, at::kLong);
    points_of_boxes(torch_threads(), sets, {boxes.const_data_ptr<float>(), frame.const_data_ptr<int64_t>(), total},
                    count, rows.mutable_data_ptr<int64_t>(), filled.mutable_data_ptr<int64_t>());
    return {rows, filled};
}

Tensor nearest(const Tensor& queries, const Tensor& points, int64_t k) {
    check(queries, at::kFloat, 2, "queries");
    check(points, at::kFloat, 2, "points");
    TORCH_CHECK(queries.size(1) == points.size(1), "queries and points must have the same number of dimensions");
    TORCH_CHECK(k >= 0 && k <= points.size(0), "there are fewer points than neighbours");
    Tensor result = at::empty({queries.size(0), k}, at::kLong);
    nearest(torch_threads(), queries.const_data_ptr<float>(), queries.size(0), points.const_data_ptr<float>(),
            points.size(0), points.size(1), k, result.mutable_data_ptr<int64_t>());
    return result;
}

}  // namespace mink_pd::bindings
