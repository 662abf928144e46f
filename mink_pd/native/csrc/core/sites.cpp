// Sites made from others: those that a kernel reaches, and those of a coarser stride.
#include <algorithm>
#include <limits>
#include <vector>

#include "cells.h"
#include "error.h"
#include "maps.h"
#include "tasks.h"

namespace mink_pd {
namespace {

// One task makes the sites around this many blocks.
constexpr int64_t BLOCKS_AT_ONCE = 512;

int32_t modulo(int64_t value, int32_t step) {
    const int64_t rest = value % step;
    return int32_t(rest < 0 ? rest + step : rest);
}

// A number for the remainders of all axes but the last.
int64_t residue(const int32_t* value, int64_t sign, Steps step) {
    int64_t code = 0;
    for (size_t d = 0; d + 1 < step.size(); ++d) code = code * step[d] + modulo(sign * value[d], int32_t(step[d]));
    return code;
}

// Adds cells to blocks that come in the order of their numbers, or nearly.
void add(std::vector<Block>& blocks, int64_t number, uint64_t cells) {
    if (!blocks.empty() && blocks.back().number == number)
        blocks.back().cells |= cells;
    else
        blocks.push_back({number, cells, 0});
}

// Writes the coordinates of the sites in lists of blocks: (N, 1 + D).
void write_coordinates(Pool& pool, const Numbering& numbering, const std::vector<std::vector<Block>>& lists,
                       const Allocate<int32_t>& result) {
    const int64_t columns = numbering.axes() + 1;
    std::vector<int64_t> first(1, 0);
    for (const auto& blocks : lists) {
        int64_t sites = first.back();
        for (const Block& block : blocks) sites += __builtin_popcountll(block.cells);
        first.push_back(sites);
    }
    int32_t* coordinates = result(first.back() * columns);
    for_each_task(pool, int64_t(lists.size()), [&](int64_t task) {
        int32_t* to = coordinates + first[task] * columns;
        std::vector<int32_t> corner(columns);
        for (const Block& block : lists[task]) {
            numbering.locate(block.number, corner.data());
            for (uint64_t cells = block.cells; cells != 0; cells &= cells - 1, to += columns) {
                std::copy(corner.begin(), corner.end(), to);
                to[columns - 1] += __builtin_ctzll(cells) << numbering.unit();
            }
        }
    });
}

// Leaves the cells whose last coordinate is a multiple of a step.
class Multiples {
 public:
    Multiples(const Numbering& numbering, int64_t step)
        : numbering_(numbering), step_(int32_t(step >> numbering.unit())), corner_(numbering.axes() + 1) {
        for (int64_t bit = 0; bit < 64; bit += step_) pattern_ |= uint64_t(1) << bit;
    }
    void keep(std::vector<Block>& blocks) {
        for (Block& block : blocks) {
            numbering_.locate(block.number, corner_.data());
            const int32_t first = modulo(-(int64_t(corner_.back()) >> numbering_.unit()), step_);
            block.cells &= first < 64 ? pattern_ << first : 0;
        }
    }

 private:
    const Numbering& numbering_;
    int32_t step_;  // in cells
    uint64_t pattern_ = 0;
    std::vector<int32_t> corner_;
};

// Remainders of all axes but the last are numbered: their product must fit.
void check_step(Steps step) {
    int64_t product = 1;
    for (const int64_t edge : step) {
        require(edge > 0 && edge < (1 << 30), "a step must be positive and below 2^30");
        require(!__builtin_mul_overflow(product, edge, &product), "the product of all steps must be below 2^63");
    }
}

}  // namespace

void grow(Pool& pool, const Coordinates& coordinates, const Offsets& offsets, Steps step,
          const Allocate<int32_t>& result) {
    check_step(step);
    if (coordinates.rows == 0 || offsets.count == 0) return void(result(0));
    Reach reach(offsets);
    reach.add_bits(step);
    const Numbering numbering(pool, std::span(&coordinates, 1), reach);
    numbering.check_range();
    const std::vector<Block> blocks = blocks_of(Sites(pool, numbering, coordinates).numbers, 0);
    const int64_t count = int64_t(blocks.size()) - 1;
    // Coordinate + offset is a multiple of step where their residues are opposite.
    std::vector<int64_t> residues(count), wanted;
    split_tasks(pool, count, [&](int64_t first, int64_t last) {
        std::vector<int32_t> corner(numbering.axes() + 1);
        for (int64_t b = first; b < last; ++b) {
            numbering.locate(blocks[b].number, corner.data());
            residues[b] = residue(corner.data() + 1, 1, step);
        }
    });
    const std::vector<Line> lines = lines_of(numbering, offsets);
    for (const Line& line : lines) wanted.push_back(residue(offsets[line.places.front().offset], -1, step));
    // A task makes the blocks from a number to the next task's.
    std::vector<std::vector<Block>> grown((count + BLOCKS_AT_ONCE - 1) / BLOCKS_AT_ONCE);
    for_each_task(pool, int64_t(grown.size()), [&](int64_t task) {
        const bool is_first = task == 0, is_last = task + 1 == int64_t(grown.size());
        const int64_t low = is_first ? std::numeric_limits<int64_t>::min() / 2 : blocks[task * BLOCKS_AT_ONCE].number;
        const int64_t high = blocks[is_last ? count : (task + 1) * BLOCKS_AT_ONCE].number;
        std::vector<uint64_t> cells;
        for (size_t l = 0; l < lines.size(); ++l) {
            const Line& line = lines[l];
            const auto earlier = [](const Block& block, int64_t number) { return block.number < number; };
            auto at = std::lower_bound(blocks.begin(), blocks.end(), low - line.shift - line.length + 1, earlier);
            for (; at->number + line.shift < high && at != blocks.end() - 1; ++at) {
                if (residues[at - blocks.begin()] != wanted[l]) continue;
                cells.assign(line.length, 0);
                for (const Line::Place& place : line.places) {
                    cells[place.block] |= at->cells << place.bit;
                    if (place.bit > 0) cells[place.block + 1] |= at->cells >> (64 - place.bit);
                }
                for (int64_t i = 0; i < line.length; ++i) {
                    const int64_t number = at->number + line.shift + i;
                    if (cells[i] != 0 && low <= number && number < high) add(grown[task], number, cells[i]);
                }
            }
        }
        unite(grown[task]);
        Multiples(numbering, step.back()).keep(grown[task]);
    });
    write_coordinates(pool, numbering, grown, result);
}

void strided(Pool& pool, const Coordinates& coordinates, Steps step, const Allocate<int32_t>& result) {
    check_step(step);
    if (coordinates.rows == 0) return void(result(0));
    const int64_t columns = coordinates.columns;
    const Numbering numbering(pool, std::span(&coordinates, 1), Reach(step));
    numbering.check_range();
    std::vector<std::vector<Block>> blocks(1);
    std::vector<int32_t> place(columns);
    const int32_t* from = coordinates.data;
    for (int64_t i = 0; i < coordinates.rows; ++i, from += columns) {
        place[0] = from[0];
        for (int64_t d = 1; d < columns; ++d) place[d] = from[d] - modulo(from[d], int32_t(step[d - 1]));
        const int64_t number = numbering.number(place.data());
        add(blocks[0], number >> 6, uint64_t(1) << (number & 63));
    }
    unite(blocks[0]);
    write_coordinates(pool, numbering, blocks, result);
}

}  // namespace mink_pd
