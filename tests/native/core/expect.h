// Expectations of the core's tests, and random values for them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/memory.h"
#include "core/pool.h"

namespace tests {

inline int failures = 0, expectations = 0;

inline void expect(bool condition, const std::string& what) {
    ++expectations;
    if (condition) return;
    ++failures;
    std::printf("FAILED: %s\n", what.c_str());
}

template <typename T>
void expect_near(const std::vector<T>& a, const std::vector<T>& b, double tolerance, const std::string& what) {
    bool near = a.size() == b.size();
    for (size_t i = 0; near && i < a.size(); ++i)
        near = std::abs(double(a[i]) - double(b[i])) <= tolerance * (1 + std::abs(double(b[i])));
    expect(near, what);
}

template <typename Call>
void expect_error(Call&& call, const std::string& what) {
    try {
        call();
    } catch (const mink_pd::Error&) {
        return expect(true, what);
    }
    expect(false, what + ": no error");
}

class Random {
 public:
    explicit Random(uint64_t seed) : engine_(seed) {}
    int64_t integer(int64_t low, int64_t high) { return low + int64_t(engine_() % uint64_t(high - low)); }
    float real() { return float(engine_() >> 40) / float(1 << 24) * 2 - 1; }
    std::vector<float> reals(int64_t count, float scale = 1) {
        std::vector<float> values(count);
        for (float& value : values) value = scale * real();
        return values;
    }

 private:
    std::mt19937_64 engine_;
};

// A vector as the memory of a result.
template <typename T>
mink_pd::Allocate<T> into(std::vector<T>& result) {
    return [&result](int64_t count) {
        result.assign(size_t(count), T(-7));
        return result.data();
    };
}

void test_pool();
void test_flow(mink_pd::Pool& pool);
void test_maps(mink_pd::Pool& pool);
void test_convolution(mink_pd::Pool& pool);
void test_sets(mink_pd::Pool& pool);
void test_mlp(mink_pd::Pool& pool);
void test_graph(mink_pd::Pool& pool);
void test_int8();

}  // namespace tests
