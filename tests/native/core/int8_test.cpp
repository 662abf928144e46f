#include "core/int8.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "expect.h"

namespace tests {

using namespace mink_pd;

namespace {

// Products of codes (rows, in) and weights (in, out) summed by a plain loop, for pairs that leave out some rows and
// meet others twice.
void test_products(Random& random, int64_t in, int64_t out, int64_t rows, int largest) {
    const int64_t volume = 3, first_row = 2, stride = (in + 3) / 4 * 4 + 4;
    std::vector<uint8_t> x(rows * stride);
    for (uint8_t& code : x) code = uint8_t(random.integer(0, 4) == 0 ? 255 : random.integer(0, 256));
    std::vector<int8_t> w(volume * in * out);
    for (int8_t& weight : w)
        weight = int8_t(random.integer(0, 8) == 0 ? largest : random.integer(-largest, largest + 1));
    for (int64_t i = 0; i < std::min<int64_t>(in, 5); ++i) w[i * out] = int8_t(i % 4 < 2 ? largest : -largest);
    const Int8Weights weights(w.data(), volume, in, out);
    std::vector<int32_t> sums(rows * weights.width()), expected(sums.size());
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = expected[i] = int32_t(random.integer(-1000, 1000));
    for (int64_t k = 0; k < volume; ++k) {
        std::vector<int32_t> source, target;
        for (int64_t row = 0; row < rows; ++row)
            if (random.integer(0, 3) > 0)
                source.push_back(int32_t(random.integer(0, rows))), target.push_back(int32_t(row + first_row));
        weights.add_products(k, {source.data(), target.data(), int64_t(source.size())}, {x.data(), stride},
                             {sums.data(), weights.width()}, first_row);
        for (size_t p = 0; p < source.size(); ++p)
            for (int64_t o = 0; o < out; ++o)
                for (int64_t c = 0; c < in; ++c)
                    expected[(target[p] - first_row) * weights.width() + o] +=
                        int32_t(x[source[p] * stride + c]) * w[(k * in + c) * out + o];
    }
    expect(sums == expected, "8-bit products of " + std::to_string(in) + " and " + std::to_string(out) + " channels");
}

void test_results(Random& random) {
    const int64_t rows = 50, width = padded(40), stride = width + 8;
    std::vector<int32_t> sums(rows * width);
    for (int32_t& sum : sums) sum = int32_t(random.integer(-3000, 9000));
    sums[0] = std::numeric_limits<int32_t>::max(), sums[1] = std::numeric_limits<int32_t>::min();
    sums[2] = 10, sums[3] = 14;
    std::vector<float> factors = random.reals(width, 0.05f);
    for (float& factor : factors) factor = std::abs(factor);
    factors[2] = factors[3] = 0.25f;  // 2.5 and 3.5: ties
    std::vector<uint8_t> codes(rows * stride), expected(codes);
    std::vector<float> values(rows * stride), expected_values(values);
    to_codes({sums.data(), width}, rows, width, factors.data(), codes.data(), stride);
    to_values({sums.data(), width}, rows, width, factors.data(), true, values.data(), stride);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < width; ++c) {
            const float value = float(sums[r * width + c]) * factors[c];
            expected[r * stride + c] = uint8_t(std::clamp(std::nearbyint(value), 0.f, 255.f));
            expected_values[r * stride + c] = std::max(value, 0.f);
        }
    expect(codes == expected && codes[2] == 2 && codes[3] == 4, "codes of sums");
    expect(values == expected_values, "values of sums");
    to_values({sums.data(), width}, rows, width, factors.data(), false, values.data(), stride);
    expect(values[1] < -1e6f, "values below 0");
}

void test_quantise(Random& random) {
    const int64_t rows = 20, width = padded(20);
    std::vector<float> values = random.reals(rows * width, 3);
    values[0] = 1e30f;
    std::vector<uint8_t> codes(values.size()), expected;
    const float step = 0.011f;
    expect(quantise(values.data(), width, rows, width, step, codes.data(), width), "finite values");
    for (const float value : values)
        expected.push_back(uint8_t(std::clamp(std::nearbyint(value * (1 / step)), 0.f, 255.f)));
    expect(codes == expected, "codes of values");
    for (const float odd : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        values[width + 1] = odd;
        expect(!quantise(values.data(), width, rows, width, step, codes.data(), width), "values that are not finite");
    }
}

}  // namespace

void test_int8() {
    std::printf("8-bit products by %s\n", int8_instructions());
    Random random(5);
    for (const int64_t in : {1, 3, 4, 7, 32, 61, 128, 300})
        for (const int64_t out : {1, 8, 16, 33, 64, 130}) test_products(random, in, out, 37, in % 2 ? 127 : 90);
    for (const int64_t rows : {1, 2, 5, 6, 7, 8, 9}) test_products(random, 12, 64, rows, 127);
    test_results(random);
    test_quantise(random);
}

}  // namespace tests
