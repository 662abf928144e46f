// Sites by the cells that they occupy.
//
// The cells of a box are numbered, the last axis running fastest; 64 of them in a row are a block, with a bit for each
// that is occupied. Ranked by number, sites need no table from cell to row: the bits before a cell's count its rank,
// and places at one offset from sites in order come in order too, so that a walk along the blocks finds them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "pool.h"

namespace mink_pd {

constexpr int64_t MOST_COLUMNS = 8;  // of coordinates

// (rows, columns = 1 + D), frame first, each once.
struct Coordinates {
    const int32_t* data;
    int64_t rows, columns;
};

// (count, axes = D), in the units of the coordinates.
struct Offsets {
    const int32_t* data;
    int64_t count, axes;

    const int32_t* operator[](int64_t k) const { return data + k * axes; }
    Offsets first(int64_t some) const { return {data, some, axes}; }
};

using Steps = std::span<const int64_t>;  // (D,)

// How far offsets reach along each axis, and which bits are set in any of them.
struct Reach {
    std::vector<int64_t> most, bits;

    explicit Reach(const Offsets& offsets);
    explicit Reach(Steps steps) : most(steps.begin(), steps.end()), bits(steps.begin(), steps.end()) {}
    void add_bits(Steps steps);
};

// Numbers the cells of a box so large that a coordinate plus any offset stays inside: sums of numbers are then numbers
// of sums. Cells are as long as the power of two that divides all coordinates and offsets of an axis, and the box has a
// power of two of them along each: no division finds a cell again.
class Numbering {
 public:
    Numbering(Pool& pool, std::span<const Coordinates> coordinates, const Reach& reach);

    int64_t axes() const { return int64_t(low_.size()) - 1; }
    int64_t number(const int32_t* coordinate) const { return number(coordinate, int64_t(low_.size())); }
    template <typename Columns>
    int64_t number(const int32_t* coordinate, Columns columns) const {
        uint64_t n = 0 - origin_;
        for (int64_t d = 0; d < columns; ++d) n += uint64_t(int64_t(coordinate[d] >> unit_[d])) << bit_[d];
        return int64_t(n);
    }
    // How much an offset adds to a number, and how much of that along the last axis.
    int64_t shift(const int32_t* offset) const {
        uint64_t n = 0;
        for (size_t d = 1; d < low_.size(); ++d) n += uint64_t(int64_t(offset[d - 1] >> unit_[d])) << bit_[d];
        return int64_t(n);
    }
    int64_t along(const int32_t* offset) const { return offset[axes() - 1] >> unit_[axes()]; }
    // The coordinate (1 + D) of the first cell of a block.
    void locate(int64_t block, int32_t* coordinate) const;
    int unit() const { return unit_[axes()]; }  // log2 of a cell's length along the last axis
    // Throws if a coordinate plus an offset may exceed 32 bits.
    void check_range() const;

 private:
    std::vector<int64_t> low_, size_;               // per column of the coordinates, in cells
    std::array<int, MOST_COLUMNS> unit_{}, bit_{};  // log2 of a cell's length, and where its index begins in a number
    uint64_t origin_ = 0;                           // unsigned: sums may wrap and come back
};

// The sites of a map in the order of their cells.
struct Sites {
    std::vector<int64_t> numbers;  // ascending
    std::vector<int32_t> row;      // of each; empty where the rows are in this order already

    Sites() = default;
    Sites(Pool& pool, const Numbering& numbering, const Coordinates& coordinates);
};

struct Block {
    int64_t number;  // of its first cell, over 64
    uint64_t cells;  // that are occupied
    int32_t before;  // sites of lower numbers
};

// Of numbers that ascend. A block is cut in two where the next `tile` sites begin; 0: never. At the end stands one that
// comes after all others.
std::vector<Block> blocks_of(const std::vector<int64_t>& numbers, int64_t tile);

// Sorts blocks that come in ascending runs and joins those of one number.
void unite(std::vector<Block>& blocks);

// Offsets that lead from one block to the same few, in a row along the last axis.
struct Line {
    struct Place {
        int64_t offset;  // which one
        int64_t block;   // of the line's, where the first cell of a site's block is led to
        int bit;         // there
    };
    int64_t shift, length;  // from a site's block to the first of the line's, and how many they are
    std::vector<Place> places;
};

std::vector<Line> lines_of(const Numbering& numbering, const Offsets& offsets);

}  // namespace mink_pd
