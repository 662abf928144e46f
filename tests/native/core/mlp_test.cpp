#include <algorithm>

#include "core/mlp.h"
#include "expect.h"

namespace tests {

using namespace mink_pd;

namespace {

struct Layers {
    std::vector<std::vector<float>> weights, shifts;
    std::vector<DenseLayer> layers;

    // Weights are the last columns of wider rows.
    Layers(const std::vector<int64_t>& channels, Random& random) : weights(channels.size()), shifts(channels.size()) {
        for (size_t n = 0; n + 1 < channels.size(); ++n) {
            const int64_t in = channels[n], out = channels[n + 1], stride = in + 3;
            weights[n] = random.reals(out * stride), shifts[n] = random.reals(out);
            layers.push_back({weights[n].data() + 3, shifts[n].data(), in, out, stride, n % 2 == 0});
        }
    }
};

// One row through a layer, with `added` to its sums.
std::vector<float> through(const DenseLayer& layer, const std::vector<float>& x, const std::vector<double>& added) {
    std::vector<float> y;
    for (int64_t o = 0; o < layer.out; ++o) {
        double sum = layer.shift[o] + added[o];
        for (int64_t i = 0; i < layer.in; ++i) sum += double(x[i]) * layer.weight[o * layer.stride + i];
        y.push_back(float(layer.relu ? std::max(sum, 0.) : sum));
    }
    return y;
}

void test_rows(Pool& pool, Random& random, const std::vector<int64_t>& channels, int64_t at) {
    const int64_t rows = 211, known = 17, count = 3;
    const Layers net(channels, random);
    const std::vector<float> x = random.reals(rows * channels[0]), table = random.reals(known * channels[at + 1]);
    const std::vector<float> shares = random.reals(rows * count);
    std::vector<int64_t> sources;
    for (int64_t i = 0; i < rows * count; ++i) sources.push_back(random.integer(0, known));
    const TableSum sum{table.data(), sources.data(), shares.data(), known, count, at};
    std::vector<float> result(rows * channels.back()), expected;
    mlp_rows(pool, x.data(), rows, net.layers, &sum, result.data());
    for (int64_t r = 0; r < rows; ++r) {
        std::vector<float> y(x.begin() + r * channels[0], x.begin() + (r + 1) * channels[0]);
        for (int64_t n = 0; n < int64_t(net.layers.size()); ++n) {
            const int64_t out = channels[n + 1];
            std::vector<double> added(out, 0);
            for (int64_t k = r * count; n == at && k < (r + 1) * count; ++k)
                for (int64_t o = 0; o < out; ++o) added[o] += double(shares[k]) * table[sources[k] * out + o];
            y = through(net.layers[n], y, added);
        }
        expected.insert(expected.end(), y.begin(), y.end());
    }
    expect_near(result, expected, 1e-3, "rows through layers");
    sources[5] = known;
    expect_error([&] { mlp_rows(pool, x.data(), rows, net.layers, &sum, result.data()); }, "a row beyond the table");
}

void test_groups(Pool& pool, Random& random, const std::vector<int64_t>& channels, int64_t size) {
    const int64_t points = 60, groups = 45;
    const Layers net(channels, random);
    const std::vector<float> features = random.reals(points * channels[1]), xyz = random.reals(points * 3);
    const std::vector<float> centres = random.reals(groups * 3);
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < groups * size; ++i) {
        const bool fills = i % size > i / size * size / groups;
        rows.push_back(fills ? rows[i / size * size] : random.integer(0, points));
    }
    const PointGroups all{features.data(), xyz.data(), centres.data(), rows.data(), points, groups, size};
    const std::span<const DenseLayer> rest = std::span(net.layers).subspan(1);
    std::vector<float> result(groups * channels.back()), expected;
    mlp_groups(pool, all, net.layers[0], rest, result.data());
    for (int64_t g = 0; g < groups; ++g) {
        std::vector<float> most(channels.back(), -1e30f);
        for (int64_t k = 0; k < size; ++k) {
            const int64_t row = rows[g * size + k];
            std::vector<float> y;
            for (int d = 0; d < 3; ++d) y.push_back(xyz[3 * row + d] - centres[3 * g + d]);
            const float* own = features.data() + row * channels[1];
            y = through(net.layers[0], y, std::vector<double>(own, own + channels[1]));
            for (const DenseLayer& layer : rest) y = through(layer, y, std::vector<double>(layer.out, 0));
            for (size_t c = 0; c < y.size(); ++c) most[c] = std::max(most[c], y[c]);
        }
        expected.insert(expected.end(), most.begin(), most.end());
    }
    expect_near(result, expected, 1e-3, "maxima of groups");
    rows[size] = points;
    expect_error([&] { mlp_groups(pool, all, net.layers[0], rest, result.data()); }, "a row beyond the points");
}

}  // namespace

void test_mlp(Pool& pool) {
    Random random(11);
    test_rows(pool, random, {5, 70, 33}, 0);
    test_rows(pool, random, {1, 16, 129, 8}, 2);
    test_rows(pool, random, {40, 3}, 0);
    for (const int64_t size : {1, 16, 130}) {
        test_groups(pool, random, {3, 20}, size);
        test_groups(pool, random, {3, 16, 70, 33}, size);
    }
}

}  // namespace tests
