// The focal loss and its gradient in one pass over the logits: torch's operators make a dozen, each through memory.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "anchors.h"
#include "blocks.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
constexpr int64_t SITES_A_SUM = 64;  // whose loss is summed in float32: the sums must not depend on the threads

// e^x for x <= 0, to 2 units in the last place; below -87, where float32 ends, e^-87. NaN stays.
Vector exp_of_negative(Vector x) {
    constexpr float LOG2E = 1.44269504f, HIGH = 0.693145752f, LOW = 1.42860677e-6f;  // HIGH + LOW = log 2
    constexpr float ROUND = 12582912.f;  // 1.5 * 2^23: adding it leaves the nearest integer in the last bits
    x = x < -87.f ? Vector{} - 87.f : x;
    const Vector shifted = x * LOG2E + ROUND, n = shifted - ROUND, r = (x - n * HIGH) - n * LOW;  // |r| <= log 2 / 2
    Vector sum = r * (1.f / 5040) + 1.f / 720;                                                    // Taylor's series
    sum = sum * r + 1.f / 120;
    sum = sum * r + 1.f / 24;
    sum = sum * r + 1.f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.f;
    sum = sum * r + 1.f;
    Integers bits, power;
    std::memcpy(&power, &shifted, sizeof power);
    std::memcpy(&bits, &sum, sizeof bits);
    bits += power << 23;  // times 2^n: what ROUND leaves above the integer falls out
    std::memcpy(&sum, &bits, sizeof sum);
    return x == x ? sum : x;
}

// log(1 + e) for 0 <= e <= 1: 2 artanh(e / (2 + e)) by its series, to 2 units in the last place.
Vector log1p_of_unit(Vector e) {
    const Vector s = e / (e + 2.f), square = s * s;
    Vector sum = square * (1.f / 15) + 1.f / 13;
    sum = sum * square + 1.f / 11;
    sum = sum * square + 1.f / 9;
    sum = sum * square + 1.f / 7;
    sum = sum * square + 1.f / 5;
    sum = sum * square + 1.f / 3;
    sum = sum * square + 1.f;
    return 2.f * s * sum;
}

Vector power(Vector base, float exponent) {
    if (exponent == 2) return base * base;
    for (int lane = 0; lane < LANES; ++lane) base[lane] = std::pow(base[lane], exponent);
    return base;
}

// A stretch of logits in whole vectors. What is filled up has weight 0.
struct Block {
    std::vector<float> logit, positive, weight, gradient;

    explicit Block(int64_t most)
        : logit(padded(most)), positive(padded(most)), weight(padded(most)), gradient(padded(most)) {}

    void fill(const Scores& scores, int64_t first, int64_t last) {
        const int64_t columns = scores.kinds * scores.classes;
        std::fill(positive.begin(), positive.end(), 0.f);
        std::fill(weight.begin(), weight.end(), 0.f);
        for (int64_t site = first; site < last; ++site) {
            const int64_t at = (site - first) * columns;
            std::copy_n(scores.logits + site * scores.stride, columns, logit.data() + at);
            for (int64_t kind = 0; kind < scores.kinds; ++kind) {
                const int64_t label = scores.labels[site * scores.kinds + kind], own = at + kind * scores.classes;
                if (label >= 0) positive[own + label] = 1;
                if (label >= -1) std::fill_n(weight.data() + own, scores.classes, scores.share[site]);
            }
        }
    }

    // With w the probability of the wrong answer and a = alpha or 1 - alpha: loss -a w^gamma log(1 - w), and its
    // derivative by the logit, a w^gamma (gamma (1 - w) (-log(1 - w)) + w), negative where the answer is 1.
    double loss(int64_t count, float alpha, float gamma) {
        Vector sum{};
        for (int64_t i = 0; i < count; i += LANES) {
            const Vector x = load(logit.data() + i), is_positive = load(positive.data() + i);
            const Vector z = is_positive > 0.5f ? -x : x;  // how far the answer is wrong
            const Vector e = exp_of_negative(z < 0.f ? z : -z), inverse = 1.f / (1.f + e);
            const Vector wrong = z < 0.f ? e * inverse : inverse, right = z < 0.f ? inverse : e * inverse;
            const Vector entropy = log1p_of_unit(e) + (z < 0.f ? Vector{} : z);
            const Vector share =
                load(weight.data() + i) * (is_positive > 0.5f ? Vector{} + alpha : Vector{} + (1 - alpha));
            const Vector scale = share * power(wrong, gamma);
            const Vector slope = scale * (gamma * right * entropy + wrong);
            sum += scale * entropy;
            store(gradient.data() + i, is_positive > 0.5f ? -slope : slope);
        }
        double total = 0;
        for (int lane = 0; lane < LANES; ++lane) total += sum[lane];
        return total;
    }
};

}  // namespace

double focal_loss(Pool& pool, const Scores& scores, float alpha, float gamma, float* gradient) {
    const int64_t columns = scores.kinds * scores.classes, sums = (scores.sites + SITES_A_SUM - 1) / SITES_A_SUM;
    std::vector<double> parts(sums);
    std::atomic<bool> inside{true};
    split_tasks(pool, sums, [&](int64_t begin, int64_t end) {
        Block block(SITES_A_SUM * columns);
        for (int64_t part = begin; part < end; ++part) {
            const int64_t first = part * SITES_A_SUM, last = std::min(scores.sites, first + SITES_A_SUM);
            const int64_t* labels = scores.labels;
            if (std::any_of(labels + first * scores.kinds, labels + last * scores.kinds,
                            [&](int64_t label) { return label >= scores.classes; })) {
                inside.store(false, std::memory_order_relaxed);
                return;
            }
            block.fill(scores, first, last);
            parts[part] = block.loss((last - first) * columns, alpha, gamma);
            std::copy_n(block.gradient.data(), (last - first) * columns, gradient + first * columns);
        }
    });
    require(inside, "a label is not one of the classes");
    double total = 0;
    for (const double part : parts) total += part;
    return total;
}

}  // namespace mink_pd
