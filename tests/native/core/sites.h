// Random sites and the pairs between them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "core/maps.h"
#include "expect.h"

namespace tests {

struct Sites_ {
    std::vector<int32_t> values;
    int64_t columns;

    int64_t rows() const { return int64_t(values.size()) / columns; }
    const int32_t* at(int64_t row) const { return values.data() + row * columns; }
    mink_pd::Coordinates view() const { return {values.data(), rows(), columns}; }

    // At most `rows` sites of two frames, multiples of `unit`.
    static Sites_ random(Random& random, int64_t rows, int64_t axes, bool ordered, int32_t unit) {
        std::set<std::vector<int32_t>> places;
        for (int64_t i = 0; i < rows; ++i) {
            std::vector<int32_t> place{int32_t(random.integer(0, 2))};
            for (int64_t d = 0; d < axes; ++d) place.push_back(unit * int32_t(random.integer(-12, 12)));
            places.insert(place);
        }
        std::vector<std::vector<int32_t>> order(places.begin(), places.end());
        if (!ordered)
            for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.integer(0, int64_t(i))]);
        Sites_ result{{}, 1 + axes};
        for (const auto& place : order) result.values.insert(result.values.end(), place.begin(), place.end());
        return result;
    }
};

// The offsets of a kernel of 3 along each axis.
inline std::vector<int32_t> cube(int64_t axes) {
    std::vector<int32_t> result;
    for (int32_t z = axes == 3 ? -1 : 0; z <= (axes == 3 ? 1 : 0); ++z)
        for (int32_t y = -1; y <= 1; ++y)
            for (int32_t x = -1; x <= 1; ++x) {
                result.insert(result.end(), {x, y});
                if (axes == 3) result.push_back(z);
            }
    return result;
}

struct Pairs {
    std::vector<int32_t> source, target, table;
    int64_t volume = 1;

    mink_pd::PairMemory memory() { return {into(source), into(target), into(table)}; }
    mink_pd::PairList list(int64_t rows) const {
        return {source.data(), target.data(), table.data(), int64_t(source.size()), mink_pd::tiles_of(rows), volume};
    }
    static Pairs between(mink_pd::Pool& pool, const Sites_& fine, const Sites_& coarse,
                         const std::vector<int32_t>& offsets) {
        const int64_t axes = fine.columns - 1;
        Pairs result;
        result.volume = int64_t(offsets.size()) / axes;
        mink_pd::neighbours(pool, fine.view(), coarse.view(), {offsets.data(), result.volume, axes}, result.memory());
        return result;
    }
};

}  // namespace tests
