#include "core/convolution.h"

#include "expect.h"
#include "sites.h"

namespace tests {

using namespace mink_pd;

namespace {

struct Case {
    Sites_ fine, coarse;
    Pairs pairs;
    int64_t in, out;
    std::vector<float> x, y, weights, scale, shift;

    Case(Pool& pool, Random& random, int64_t in_, int64_t out_)
        : fine(Sites_::random(random, 400, 2, true, 1)),
          coarse(Sites_::random(random, 300, 2, false, 1)),
          in(in_),
          out(out_) {
        const auto offsets = cube(2);
        pairs = Pairs::between(pool, fine, coarse, offsets);
        x = random.reals(fine.rows() * in), y = random.reals(coarse.rows() * out);
        weights = random.reals(pairs.volume * in * out), scale = random.reals(out), shift = random.reals(out);
    }
};

void test_products(Pool& pool, const Case& c, bool transposed, bool rounded) {
    const Weights weights{c.weights.data(), c.pairs.volume, c.in, c.out, transposed};
    const Map map{c.pairs.list(c.coarse.rows()), c.coarse.rows(), false};
    const int64_t stride = c.out + 3;  // a part of wider rows
    std::vector<float> wide(c.coarse.rows() * stride, -7.f), result, expected;
    products(pool, {c.x.data(), c.fine.rows(), c.in}, weights, map, {c.scale.data(), c.shift.data(), true}, rounded,
             {wide.data(), stride});
    for (int64_t r = 0; r < c.coarse.rows(); ++r) {
        const auto row = wide.begin() + r * stride;
        result.insert(result.end(), row, row + c.out);
        expect(std::count(row + c.out, row + stride, -7.f) == 3, "products leave what lies beside them");
    }
    std::vector<double> sums(c.coarse.rows() * c.out, 0.);
    for (int64_t k = 0; k < map.pairs.volume; ++k)
        for (int64_t p = map.pairs.begin(k); p < map.pairs.end(k); ++p)
            for (int64_t o = 0; o < c.out; ++o)
                for (int64_t i = 0; i < c.in; ++i) {
                    const int64_t at = transposed ? (k * c.out + o) * c.in + i : (k * c.in + i) * c.out + o;
                    sums[map.pairs.target[p] * c.out + o] +=
                        double(c.x[map.pairs.source[p] * c.in + i]) * c.weights[at];
                }
    for (size_t i = 0; i < sums.size(); ++i)
        expected.push_back(std::max(0.f, float(sums[i]) * c.scale[i % c.out] + c.shift[i % c.out]));
    expect_near(result, expected, rounded ? 0.1 : 1e-4, "products of " + std::to_string(c.in) + " channels");
}

void test_outer(Pool& pool, const Case& c) {
    const PairList pairs = c.pairs.list(c.coarse.rows());
    std::vector<float> result(pairs.volume * c.in * c.out), expected;
    outer_products(pool, {c.x.data(), c.fine.rows(), c.in}, {c.y.data(), c.coarse.rows(), c.out}, pairs, result.data());
    for (int64_t k = 0; k < pairs.volume; ++k)
        for (int64_t i = 0; i < c.in; ++i)
            for (int64_t o = 0; o < c.out; ++o) {
                double sum = 0;
                for (int64_t p = pairs.begin(k); p < pairs.end(k); ++p)
                    sum += double(c.x[pairs.source[p] * c.in + i]) * c.y[pairs.target[p] * c.out + o];
                expected.push_back(float(sum));
            }
    expect_near(result, expected, 1e-4, "outer products of " + std::to_string(c.in) + " channels");
}

}  // namespace

void test_convolution(Pool& pool) {
    Random random(2);
    for (const int64_t in : {1, 7, 64, 150})
        for (const int64_t out : {1, 8, 33, 64, 130}) {
            const Case c(pool, random, in, out);
            test_products(pool, c, false, false);
            test_products(pool, c, true, false);
            if (multiplies_bf16()) test_products(pool, c, false, true);
            test_outer(pool, c);
        }
    Case c(pool, random, 4, 4);
    std::vector<float> result(c.coarse.rows() * 4);
    c.pairs.source[5] = int32_t(c.fine.rows());
    expect_error([&] { test_products(pool, c, false, false); }, "a source beyond the rows");
    expect_error([&] { test_outer(pool, c); }, "a source beyond the rows");
}

}  // namespace tests
