#include <algorithm>
#include <map>
#include <numeric>

#include "core/knn.h"
#include "core/pillars.h"
#include "core/points.h"
#include "core/voxels.h"
#include "expect.h"

namespace tests {

using namespace mink_pd;

namespace {

using Rows = std::vector<int64_t>;

void test_voxels(Pool& pool, Random& random, int64_t dimensions) {
    const int64_t count = 3000, frames = 2;
    const VoxelGrid grid{{-4, -4, -1}, {0.5f, 0.25f, 0.5f}, {16, 32, 4}, dimensions};
    const std::vector<float> points = random.reals(count * 4, 5);
    Rows frame(count), rows, counts, expected_rows;
    for (int64_t& f : frame) f = random.integer(0, frames);
    std::vector<int32_t> coordinates, expected;
    std::vector<float> inside;
    voxelise(pool, {points.data(), frame.data(), count, 4}, frames, grid,
             {into(coordinates), into(inside), into(rows), into(counts)});
    std::map<std::vector<int32_t>, Rows> cells;
    int64_t kept = 0;
    for (int64_t p = 0; p < count; ++p) {
        std::vector<int32_t> place{int32_t(frame[p])};
        bool is_inside = true;
        for (int axis = 0; axis < 3; ++axis) {
            const float cell = std::floor((points[p * 4 + axis] - grid.lower[axis]) / grid.size[axis]);
            is_inside &= cell >= 0 && cell < float(grid.shape[axis]);
            if (axis < dimensions) place.push_back(int32_t(cell));
        }
        if (is_inside) cells[place].push_back(kept++);
    }
    expected_rows.resize(kept);
    for (const auto& [place, members] : cells) {
        for (const int64_t p : members) expected_rows[p] = int64_t(expected.size()) / (1 + dimensions);
        expected.insert(expected.end(), place.begin(), place.end());
    }
    expect(coordinates == expected && rows == expected_rows, "voxels of " + std::to_string(dimensions) + " dimensions");
    expect(int64_t(inside.size()) == kept * 4 && std::accumulate(counts.begin(), counts.end(), int64_t(0)) == kept,
           "points inside");
    frame[7] = 2;
    expect_error(
        [&] {
            voxelise(pool, {points.data(), frame.data(), count, 4}, frames, grid,
                     {into(coordinates), into(inside), into(rows), into(counts)});
        },
        "a frame that is not there");
}

void test_linear_max(Pool& pool, Random& random, int64_t channels) {
    const int64_t rows = 900, groups = 1100, features = 5;
    Rows group, counts(groups, 1);
    for (int64_t g = 0; g < groups; ++g) group.push_back(g);
    for (int64_t p = 0; p < rows; ++p) group.push_back(random.integer(0, groups)), ++counts[group.back()];
    const int64_t all = rows + groups;
    const std::vector<float> x = random.reals(all * features), w = random.reals(channels * features);
    const std::vector<float> b = random.reals(channels), gradient = random.reals(groups * channels);
    std::vector<float> value(groups * channels), expected(groups * channels, -1e9f);
    std::vector<int32_t> winner(groups * channels);
    linear_max(pool, x.data(), {group.data(), counts.data(), all, groups}, {w.data(), b.data(), channels, features},
               value.data(), winner.data());
    const auto mapped = [&](int64_t p, int64_t c) {
        double sum = b[c];
        for (int64_t f = 0; f < features; ++f) sum += double(x[p * features + f]) * w[c * features + f];
        return float(sum);
    };
    for (int64_t p = 0; p < all; ++p)
        for (int64_t c = 0; c < channels; ++c) {
            float& most = expected[group[p] * channels + c];
            most = std::max(most, mapped(p, c));
        }
    expect_near(value, expected, 1e-5, "maxima of a linear map");
    std::vector<float> of_winners;
    for (int64_t g = 0; g < groups; ++g)
        for (int64_t c = 0; c < channels; ++c) of_winners.push_back(mapped(winner[g * channels + c], c));
    expect_near(of_winners, expected, 1e-5, "winners have the maxima");

    const int64_t parts = parts_of_groups(groups);
    std::vector<float> of_weight(parts * channels * features), of_bias(parts * channels);
    linear_max_backward(pool, gradient.data(), winner.data(), groups, x.data(), all, features, channels,
                        of_weight.data(), of_bias.data());
    std::vector<float> sums(channels * features, 0.f), whole(channels * features, 0.f);
    for (int64_t i = 0; i < int64_t(of_weight.size()); ++i) sums[i % int64_t(sums.size())] += of_weight[i];
    for (int64_t g = 0; g < groups; ++g)
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t f = 0; f < features; ++f)
                whole[c * features + f] += gradient[g * channels + c] * x[winner[g * channels + c] * features + f];
    expect_near(sums, whole, 1e-3, "gradient of the weights");
    winner[3] = int32_t(all);
    expect_error(
        [&] {
            linear_max_backward(pool, gradient.data(), winner.data(), groups, x.data(), all, features, channels,
                                of_weight.data(), of_bias.data());
        },
        "a winner beyond the rows");
    counts[0] = 0, counts[1] += 1;
    expect_error(
        [&] {
            linear_max(pool, x.data(), {group.data(), counts.data(), all, groups},
                       {w.data(), b.data(), channels, features}, value.data(), winner.data());
        },
        "an empty group");
}

double squared(const float* a, const float* b, int64_t dimension) {
    double sum = 0;
    for (int64_t d = 0; d < dimension; ++d) sum += (double(a[d]) - b[d]) * (double(a[d]) - b[d]);
    return sum;
}

void test_nearest(Pool& pool, Random& random, int64_t dimension) {
    const int64_t count = 200, rows = 900, k = 17;
    const std::vector<float> queries = random.reals(count * dimension), points = random.reals(rows * dimension);
    Rows result(count * k), expected;
    nearest(pool, queries.data(), count, points.data(), rows, dimension, k, result.data());
    for (int64_t q = 0; q < count; ++q) {
        std::vector<std::pair<float, int64_t>> all;
        for (int64_t p = 0; p < rows; ++p) {
            float sum = 0;
            for (int64_t d = 0; d < dimension; ++d) {
                const float offset = points[p * dimension + d] - queries[q * dimension + d];
                sum += offset * offset;
            }
            all.push_back({sum, p});
        }
        std::sort(all.begin(), all.end());
        for (int64_t i = 0; i < k; ++i) expected.push_back(all[i].second);
    }
    int64_t same = 0;
    for (size_t i = 0; i < expected.size(); ++i) same += expected[i] == result[i];
    expect(same >= int64_t(expected.size()) - 4, "nearest rows");  // but for ties by the contraction of sums
}

void test_points(Pool& pool, Random& random) {
    const int64_t frames = 2, points = 700, count = 60;
    const std::vector<float> xyz = random.reals(frames * points * 3, 3);
    const PointSets sets{xyz.data(), frames, points};
    Rows sampled(frames * count), expected;
    farthest_points(pool, sets, count, sampled.data());
    for (int64_t f = 0; f < frames; ++f) {
        std::vector<double> distance(points, 1e300);
        for (int64_t n = 0, row = 0; n < count; ++n) {
            expected.push_back(row);
            for (int64_t p = 0; p < points; ++p)
                distance[p] = std::min(distance[p], squared(sets.frame(f) + 3 * p, sets.frame(f) + 3 * row, 3));
            row = std::max_element(distance.begin(), distance.end()) - distance.begin();
        }
    }
    expect(sampled == expected, "farthest points");
    const int64_t centres = 40;
    std::vector<float> centre;
    for (int64_t f = 0; f < frames; ++f) centre.insert(centre.end(), sets.frame(f), sets.frame(f) + centres * 3);
    Rows near(frames * centres * 8), wide(frames * centres * 32);
    const std::vector<Ball> balls{{0.5, 8, near.data()}, {1.5, 32, wide.data()}};
    ball_query(pool, sets, {centre.data(), frames, centres}, balls);
    for (const Ball& ball : balls) {
        bool right = true;
        for (int64_t i = 0; i < frames * centres; ++i) {
            Rows found;
            for (int64_t p = 0; p < points; ++p)
                if (squared(sets.frame(i / centres) + 3 * p, centre.data() + 3 * i, 3) < ball.radius * ball.radius)
                    found.push_back(p);
            for (int64_t k = 0; k < ball.neighbours; ++k)
                right &= ball.rows[i * ball.neighbours + k] == found[k < int64_t(found.size()) ? k : 0];
        }
        expect(right, "ball query");
    }
    const std::vector<float> boxes{0, 0, 0, 3, 2, 2, 0.5f, 1, 1, 0, 9, 9, 9, 0, 50, 0, 0, 1, 1, 1, 0};
    const Rows frame{0, 1, 1};
    Rows rows(3 * 16), filled(3);
    points_of_boxes(pool, sets, {boxes.data(), frame.data(), 3}, 16, rows.data(), filled.data());
    bool right = filled[2] == 0;
    for (int64_t r = 0; r < 3; ++r) {
        const float* box = boxes.data() + 7 * r;
        Rows found;
        for (int64_t p = 0; p < points; ++p) {
            const float* at = sets.frame(frame[r]) + 3 * p;
            const double x = double(at[0]) - box[0], y = double(at[1]) - box[1], cos = std::cos(double(box[6])),
                         sin = std::sin(double(box[6]));
            if (std::abs(x * cos + y * sin) <= box[3] / 2. && std::abs(y * cos - x * sin) <= box[4] / 2. &&
                std::abs(double(at[2]) - box[2]) <= box[5] / 2.)
                found.push_back(p);
        }
        right &= filled[r] == std::min<int64_t>(16, int64_t(found.size()));
        for (int64_t k = 0; k < 16; ++k)
            right &= rows[r * 16 + k] == (found.empty() ? 0 : found[k % int64_t(found.size())]);
    }
    expect(right, "points of boxes");
    // Sets of unequal size: the first with every place twice, the second empty.
    std::vector<float> places(xyz.begin(), xyz.begin() + 3 * 30);
    places.insert(places.end(), xyz.begin(), xyz.begin() + 3 * 30);
    places.insert(places.end(), xyz.begin() + 3 * 100, xyz.begin() + 3 * 300);
    const Rows start{0, 60, 60, 260}, centre_start{0, 5, 5, 12};
    const PointSets ragged{places.data(), 3, 0, start.data()};
    Rows samples(3 * 50), taken(3), of_first(30), of_last(50);
    farthest_points(pool, ragged, 50, samples.data(), taken.data());
    farthest_points(pool, {xyz.data(), 1, 30}, 30, of_first.data());
    farthest_points(pool, {xyz.data() + 3 * 100, 1, 200}, 50, of_last.data());
    of_first.resize(100);
    of_first.insert(of_first.end(), of_last.begin(), of_last.end());
    expect(taken == Rows{30, 0, 50} && samples == of_first, "farthest points of ragged sets");
    const PointSets around{xyz.data(), 3, 0, centre_start.data()};
    Rows apart(12 * 4), of_each(7 * 4);
    ball_query(pool, ragged, around, std::vector<Ball>{{1.5, 4, apart.data()}});
    ball_query(pool, {xyz.data() + 3 * 100, 1, 200}, {xyz.data() + 3 * 5, 1, 7},
               std::vector<Ball>{{1.5, 4, of_each.data()}});
    expect(std::equal(of_each.begin(), of_each.end(), apart.begin() + 5 * 4), "ball query of ragged sets");
    expect_error([&] { ball_query(pool, sets, {centre.data(), frames, centres}, {}); }, "no radii");
    expect_error([&] { farthest_points(pool, sets, points + 1, sampled.data()); }, "too many samples");
}

}  // namespace

void test_sets(Pool& pool) {
    Random random(3);
    for (const int64_t dimensions : {2, 3}) {
        test_voxels(pool, random, dimensions);
        test_nearest(pool, random, dimensions);
    }
    for (const int64_t channels : {1, 16, 75}) test_linear_max(pool, random, channels);
    test_points(pool, random);
}

}  // namespace tests
