#include "cells.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>
#include <type_traits>

#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

// One task looks at this many rows.
constexpr int64_t ROWS_OF_A_TASK = 4096;
constexpr int64_t MOST_GAP = 16;  // blocks between offsets of one line

// Calls work(columns, first row, last row) for stretches of the rows, on all cores. The number of columns is known to
// the compiler for images and for space, so that it can unroll loops over them.
template <typename Work>
void for_rows(Pool& pool, int64_t rows, int64_t columns, Work&& work) {
    split_tasks(pool, (rows + ROWS_OF_A_TASK - 1) / ROWS_OF_A_TASK, [&](int64_t first, int64_t last) {
        const int64_t from = first * ROWS_OF_A_TASK, to = std::min(rows, last * ROWS_OF_A_TASK);
        if (columns == 4) return work(std::integral_constant<int64_t, 4>(), from, to);
        if (columns == 3) return work(std::integral_constant<int64_t, 3>(), from, to);
        work(columns, from, to);
    });
}

}  // namespace

Reach::Reach(const Offsets& offsets) : most(offsets.axes, 0), bits(offsets.axes, 0) {
    const int32_t* offset = offsets.data;
    for (int64_t k = 0; k < offsets.count; ++k)
        for (size_t d = 0; d < most.size(); ++d, ++offset) {
            most[d] = std::max<int64_t>(most[d], std::abs(int64_t(*offset)));
            bits[d] |= *offset;
        }
}

void Reach::add_bits(Steps steps) {
    for (size_t d = 0; d < bits.size(); ++d) bits[d] |= steps[d];
}

Numbering::Numbering(Pool& pool, std::span<const Coordinates> coordinates, const Reach& reach) {
    const int64_t columns = int64_t(reach.most.size()) + 1;
    static_assert(MOST_COLUMNS == 8);
    require(columns <= MOST_COLUMNS, "coordinates have more than 8 columns");
    std::vector<int32_t> low(columns, std::numeric_limits<int32_t>::max()), high(columns, ~low[0]), bits(columns, 0);
    std::mutex joining;
    for (const Coordinates& rows : coordinates) {
        const int32_t* value = rows.data;
        for_rows(pool, rows.rows, columns, [&](auto columns, int64_t first, int64_t last) {
            std::array<int32_t, MOST_COLUMNS> lowest, highest, used{};
            lowest.fill(std::numeric_limits<int32_t>::max()), highest.fill(~lowest[0]);
            for (int64_t i = first; i < last; ++i)
                for (int64_t d = 0; d < columns; ++d) {
                    const int32_t here = value[i * columns + d];
                    lowest[d] = std::min(lowest[d], here);
                    highest[d] = std::max(highest[d], here);
                    used[d] |= here;
                }
            const std::lock_guard lock(joining);
            for (int64_t d = 0; d < columns; ++d) {
                low[d] = std::min(low[d], lowest[d]);
                high[d] = std::max(high[d], highest[d]);
                bits[d] |= used[d];
            }
        });
    }
    low_.resize(columns), size_.resize(columns);
    int bit = 0;
    for (int64_t d = columns; d-- > 0;) {
        const int64_t used = bits[d] | (d > 0 ? reach.bits[d - 1] : 1);
        unit_[d] = used == 0 ? 0 : std::min(30, __builtin_ctzll(uint64_t(used)));
        const int64_t margin = d > 0 ? reach.most[d - 1] >> unit_[d] : 0;
        low_[d] = (low[d] >> unit_[d]) - margin;
        const int64_t size = (high[d] >> unit_[d]) + margin - low_[d] + 1;
        bit_[d] = bit;
        size_[d] = size;
        origin_ += uint64_t(low_[d]) << bit;
        while (size > int64_t(1) << (bit - bit_[d])) ++bit;
        if (d == columns - 1) bit = std::max(bit, 6);  // a block belongs to one line
        require(bit < 62, "coordinates span too large a box for a kernel map");
    }
}

void Numbering::check_range() const {
    for (size_t d = 1; d < low_.size(); ++d) {
        const int64_t cell = int64_t(1) << unit_[d];
        require(low_[d] * cell >= std::numeric_limits<int32_t>::min() &&
                    (low_[d] + size_[d]) * cell - 1 <= std::numeric_limits<int32_t>::max(),
                "coordinates plus offsets do not fit into 32 bits");
    }
}

void Numbering::locate(int64_t block, int32_t* coordinate) const {
    int64_t rest = block << 6;
    for (size_t d = 0; d < low_.size(); ++d) {
        const int64_t index = rest >> bit_[d];
        coordinate[d] = int32_t((index + low_[d]) << unit_[d]);
        rest -= index << bit_[d];
    }
}

Sites::Sites(Pool& pool, const Numbering& numbering, const Coordinates& coordinates) : numbers(coordinates.rows) {
    const int32_t* from = coordinates.data;
    std::atomic<bool> ascending{true};
    for_rows(pool, coordinates.rows, coordinates.columns, [&](auto columns, int64_t first, int64_t last) {
        int64_t before = first > 0 ? numbering.number(from + (first - 1) * columns, columns) : -1;
        bool sorted = true;
        for (int64_t i = first; i < last; ++i) {
            const int64_t number = numbers[i] = numbering.number(from + i * columns, columns);
            sorted &= before < number;
            before = number;
        }
        if (!sorted) ascending.store(false, std::memory_order_relaxed);
    });
    if (ascending) return;  // each once, then
    std::vector<std::pair<int64_t, int32_t>> order(numbers.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = {numbers[i], int32_t(i)};
    std::sort(order.begin(), order.end());
    row.resize(order.size());
    for (size_t i = 0; i < order.size(); ++i) std::tie(numbers[i], row[i]) = order[i];
    require(std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end(), "coordinates must be unique");
}

std::vector<Block> blocks_of(const std::vector<int64_t>& numbers, int64_t tile) {
    std::vector<Block> blocks;
    blocks.reserve(numbers.size() + 1);
    int64_t current = -1, cut = tile == 0 ? -1 : 0;
    for (size_t i = 0; i < numbers.size(); ++i) {
        const int64_t number = numbers[i] >> 6;
        const bool at_cut = int64_t(i) == cut;
        if (at_cut) cut += tile;
        if (number != current || at_cut) blocks.push_back({current = number, 0, int32_t(i)});
        blocks.back().cells |= uint64_t(1) << (numbers[i] & 63);
    }
    blocks.push_back({std::numeric_limits<int64_t>::max() / 2, 0, int32_t(numbers.size())});
    return blocks;
}

void unite(std::vector<Block>& blocks) {
    const auto earlier = [](const Block& a, const Block& b) { return a.number < b.number; };
    std::vector<size_t> ends{0}, joined;  // of the runs
    for (size_t i = 1; i < blocks.size(); ++i)
        if (earlier(blocks[i], blocks[i - 1])) ends.push_back(i);
    ends.push_back(blocks.size());
    std::vector<Block> other(blocks.size());
    while (ends.size() > 2) {
        joined.assign(1, 0);
        for (size_t r = 0; r + 1 < ends.size(); r += 2) {
            const auto at = blocks.begin(), middle = at + ends[r + 1];
            const size_t end = ends[std::min(r + 2, ends.size() - 1)];
            std::merge(at + ends[r], middle, middle, at + end, other.begin() + ends[r], earlier);
            joined.push_back(end);
        }
        blocks.swap(other), ends.swap(joined);
    }
    size_t kept = 0;
    for (size_t i = 0; i < blocks.size(); ++i) {
        if (kept > 0 && blocks[kept - 1].number == blocks[i].number)
            blocks[kept - 1].cells |= blocks[i].cells;
        else
            blocks[kept++] = blocks[i];
    }
    blocks.resize(kept);
}

std::vector<Line> lines_of(const Numbering& numbering, const Offsets& offsets) {
    std::map<int64_t, Line> lines;  // by what their offsets add across the last axis
    for (int64_t k = 0; k < offsets.count; ++k) {
        const int32_t* offset = offsets[k];
        const int64_t along = numbering.along(offset), across = (numbering.shift(offset) - along) / 64;
        lines[across].places.push_back({k, along >> 6, int(along & 63)});
    }
    std::vector<Line> result;
    for (auto& [across, line] : lines) {
        const auto by_block = [](const Line::Place& a, const Line::Place& b) { return a.block < b.block; };
        std::stable_sort(line.places.begin(), line.places.end(), by_block);
        for (auto first = line.places.begin(), last = first; first != line.places.end(); first = last) {
            const int64_t lowest = first->block;
            Line part{across + lowest, 0, {}};
            for (; last != line.places.end() && last->block <= lowest + part.length + MOST_GAP; ++last) {
                part.length = last->block - lowest + 2;  // a block that is led to a bit of one ends in the next
                part.places.push_back({last->offset, last->block - lowest, last->bit});
            }
            result.push_back(std::move(part));
        }
    }
    std::stable_sort(result.begin(), result.end(), [](const Line& a, const Line& b) { return a.shift < b.shift; });
    return result;
}

}  // namespace mink_pd
