#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "core/maps.h"
#include "expect.h"
#include "sites.h"

namespace tests {

using namespace mink_pd;

namespace {

using Triple = std::tuple<int32_t, int32_t, int32_t>;  // offset, target, source

std::vector<Triple> triples_of(const Pairs& pairs, int64_t rows) {
    std::vector<Triple> result;
    const PairList list = pairs.list(rows);
    for (int64_t k = 0; k < list.volume; ++k)
        for (int64_t tile = 0; tile < list.tiles; ++tile)
            for (int32_t p = list.table[tile * list.volume + k]; p < list.table[(tile + 1) * list.volume + k]; ++p) {
                expect(list.target[p] / TILE == tile, "a pair lies in its target's tile");
                result.push_back({int32_t(k), list.target[p], list.source[p]});
            }
    return result;
}

void test_pairs(Pool& pool, const Sites_& fine, const Sites_& coarse, const std::vector<int32_t>& offsets) {
    const int64_t axes = fine.columns - 1, volume = int64_t(offsets.size()) / axes;
    const Pairs pairs = Pairs::between(pool, fine, coarse, offsets);
    std::vector<Triple> expected;
    for (int64_t k = 0; k < volume; ++k)
        for (int64_t j = 0; j < coarse.rows(); ++j)
            for (int64_t i = 0; i < fine.rows(); ++i) {
                bool meets = fine.at(i)[0] == coarse.at(j)[0];
                for (int64_t d = 0; d < axes; ++d)
                    meets &= fine.at(i)[1 + d] == coarse.at(j)[1 + d] + offsets[k * axes + d];
                if (meets) expected.push_back({int32_t(k), int32_t(j), int32_t(i)});
            }
    expect(triples_of(pairs, coarse.rows()) == expected, "pairs are those of all comparisons");

    Pairs back;
    back.volume = volume;
    if (!inverse(pool, pairs.list(coarse.rows()), fine.rows(), back.memory())) {
        back.source = pairs.target;
        back.target = pairs.source;
    }
    for (auto& [k, target, source] : expected) std::swap(target, source);
    std::sort(expected.begin(), expected.end());
    expect(triples_of(back, fine.rows()) == expected, "the inverse has the same pairs");
}

void test_made_sites(Pool& pool, const Sites_& sites, const std::vector<int32_t>& offsets, int64_t step) {
    const int64_t axes = sites.columns - 1;
    const std::vector<int64_t> steps(axes, step);
    std::set<std::vector<int32_t>> grown, rounded;
    for (int64_t i = 0; i < sites.rows(); ++i) {
        std::vector<int32_t> place(sites.at(i), sites.at(i) + sites.columns);
        for (size_t k = 0; k < offsets.size() / size_t(axes); ++k) {
            std::vector<int32_t> other = place;
            bool multiple = true;
            for (int64_t d = 0; d < axes; ++d) {
                other[1 + d] += offsets[k * axes + d];
                multiple &= other[1 + d] % step == 0;
            }
            if (multiple) grown.insert(other);
        }
        for (int64_t d = 1; d <= axes; ++d) place[d] -= int32_t(((place[d] % step) + step) % step);
        rounded.insert(place);
    }
    const auto flat = [](const std::set<std::vector<int32_t>>& places) {
        std::vector<int32_t> result;
        for (const auto& place : places) result.insert(result.end(), place.begin(), place.end());
        return result;
    };
    std::vector<int32_t> result;
    grow(pool, sites.view(), {offsets.data(), int64_t(offsets.size()) / axes, axes}, steps, into(result));
    expect(result == flat(grown), "grown sites");
    strided(pool, sites.view(), steps, into(result));
    expect(result == flat(rounded), "strided sites");
}

}  // namespace

void test_maps(Pool& pool) {
    Random random(1);
    for (const int64_t axes : {2, 3})
        for (const bool ordered : {true, false})
            for (const int64_t rows : {1, 300}) {
                const Sites_ fine = Sites_::random(random, rows, axes, ordered, 1);
                const Sites_ coarse = Sites_::random(random, rows, axes, ordered, 2);
                const std::vector<int32_t> offsets = cube(axes);
                test_pairs(pool, fine, fine, offsets);
                test_pairs(pool, fine, coarse, offsets);
                test_made_sites(pool, fine, offsets, 2);
                std::vector<int32_t> far = offsets;
                for (int32_t& x : far) x *= 1000;
                test_pairs(pool, fine, coarse, far);
            }
    const std::vector<int32_t> twice{0, 1, 2, 0, 1, 2}, edge{0, 2147483647, 0}, offset{1, 0};
    std::vector<int32_t> result;
    Pairs pairs;
    expect_error(
        [&] { neighbours(pool, {twice.data(), 2, 3}, {twice.data(), 2, 3}, {offset.data(), 1, 2}, pairs.memory()); },
        "a coordinate twice");
    const std::array<int64_t, 2> step{1, 1}, none{0, 1};
    expect_error([&] { grow(pool, {edge.data(), 1, 3}, {offset.data(), 1, 2}, step, into(result)); }, "beyond 32 bits");
    expect_error([&] { strided(pool, {twice.data(), 2, 3}, none, into(result)); }, "a step of 0");
}

}  // namespace tests
