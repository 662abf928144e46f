#include "core/graph.h"

#include "core/blocks.h"
#include "expect.h"

namespace tests {

using namespace mink_pd;

namespace {

// A random graph from 150 centres to 90 rows, and its transposed.
struct Graph {
    std::vector<int64_t> neighbours, degrees, rows;
    std::vector<int32_t> start, neighbour, arriving, centre;

    Graph(Pool& pool, Random& random) {
        for (int i = 0; i < 150; ++i) {
            degrees.push_back(random.integer(0, 9));
            for (int64_t e = 0; e < degrees.back(); ++e) neighbours.push_back(random.integer(0, 90));
        }
        transpose(pool, 90);
    }
    void transpose(Pool& pool, int64_t count) {
        transpose_edges(pool, neighbours.data(), int64_t(neighbours.size()), degrees.data(), int64_t(degrees.size()),
                        count, {into(rows), into(start), into(neighbour), into(arriving), into(centre)});
    }
    int64_t centres() const { return int64_t(degrees.size()); }
    int64_t edges() const { return int64_t(neighbour.size()); }
    Adjacency forth() const { return {start.data(), neighbour.data(), centres(), edges()}; }
    Adjacency back() const { return {arriving.data(), centre.data(), int64_t(rows.size()), edges()}; }
    // Calls use(centre, neighbour) for each edge.
    template <typename Use>
    void for_each_edge(Use&& use) const {
        for (int64_t i = 0; i < centres(); ++i)
            for (int32_t e = start[i]; e < start[i + 1]; ++e) use(i, int64_t(neighbour[e]));
    }
};

void test_moments(Pool& pool, Random& random, const Graph& g, int64_t channels) {
    const int64_t used = int64_t(g.rows.size()), width = padded(channels);
    const std::vector<float> a = random.reals(used * channels), b = random.reals(g.centres() * channels);
    std::vector<float> near(used * width), own(g.centres() * width), gathered(g.centres() * width);
    std::vector<double> sums(3 * width), expected(3 * width, 0.);
    edge_moments(pool, a.data(), b.data(), channels, g.forth(), g.back(), near.data(), own.data(), gathered.data(),
                 sums.data());
    std::vector<float> around(g.centres() * width, 0.f);
    g.for_each_edge([&](int64_t i, int64_t j) {
        for (int64_t c = 0; c < channels; ++c) {
            const double value = double(a[j * channels + c]) + b[i * channels + c];
            expected[c] += value, expected[width + c] += value * value;
            around[i * width + c] += near[j * width + c];
        }
    });
    std::fill(expected.begin() + 2 * width, expected.end(), double(g.edges()));
    expect_near(sums, expected, 1e-4, "moments over edges");
    expect_near(gathered, around, 1e-4, "sums over neighbours");
}

void test_comparison(Pool& pool, Random& random, const Graph& g) {
    const int64_t used = int64_t(g.rows.size()), width = 3 * LANES;
    struct Side {
        std::vector<float> a, b, shift, of_a, of_b, sum_b;
        std::vector<double> to_a, to_b;
    } t, s;
    for (Side* side : {&t, &s}) {
        side->a = random.reals(used * width), side->b = random.reals(g.centres() * width);
        side->shift = random.reals(width), side->of_a.resize(used * width), side->sum_b.resize(used * width);
        side->of_b.resize(g.centres() * width), side->to_a.resize(used * width), side->to_b.resize(g.centres() * width);
    }
    const std::vector<float> weight = random.reals(g.centres());
    std::vector<double> sums(3), expected(3, 0.);
    const auto network = [](const Side& side) { return Network{side.a.data(), side.b.data(), side.shift.data()}; };
    const auto gradient = [](Side& side) {
        return NetworkGradient{side.of_a.data(), side.of_b.data(), side.sum_b.data()};
    };
    compare_edges(pool, network(t), network(s), width, weight.data(), g.forth(), g.back(), gradient(t), gradient(s),
                  sums.data());
    g.for_each_edge([&](int64_t i, int64_t j) {
        for (int64_t c = 0; c < width; ++c) {
            const auto value = [&](const Side& side) {
                return std::max(0., double(side.a[j * width + c]) + side.b[i * width + c] + side.shift[c]);
            };
            const double x = value(t), y = value(s), slope = 2 * weight[i] * (x - y);
            expected[0] += weight[i] * (x - y) * (x - y), expected[1] += x * x, expected[2] += y * y;
            if (x > 0) t.to_a[j * width + c] += slope, t.to_b[i * width + c] += slope;
            if (y > 0) s.to_a[j * width + c] -= slope, s.to_b[i * width + c] -= slope;
        }
    });
    expect_near(sums, expected, 1e-4, "comparison of two networks");
    for (const Side* side : {&t, &s}) {
        expect_near(std::vector<double>(side->of_a.begin(), side->of_a.end()), side->to_a, 1e-3, "gradient of a");
        expect_near(std::vector<double>(side->of_b.begin(), side->of_b.end()), side->to_b, 1e-3, "gradient of b");
    }
}

}  // namespace

void test_graph(Pool& pool) {
    Random random(4);
    Graph g(pool, random);
    g.forth().check(int64_t(g.rows.size())), g.back().check(g.centres());
    for (const int64_t channels : {1, 16, 70}) test_moments(pool, random, g, channels);
    test_comparison(pool, random, g);
    expect_error([&] { g.forth().check(int64_t(g.rows.size()) - 1); }, "an edge to none of the rows");
    g.neighbours[3] = 90;
    expect_error([&] { g.transpose(pool, 90); }, "a neighbour beyond the rows");
    g.neighbours[3] = 0, g.degrees[2] += 1;
    expect_error([&] { g.transpose(pool, 90); }, "degrees that are too many");
}

}  // namespace tests
