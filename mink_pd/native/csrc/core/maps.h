// Kernel maps: which input row meets which output row under which offset of the kernel; and sites made from others.
#pragma once

#include <cstdint>

#include "cells.h"
#include "memory.h"
#include "pool.h"

namespace mink_pd {

// Output rows that the shortest stretch of a pair list is cut for; users of a list join stretches.
constexpr int64_t TILE = 32;
constexpr int64_t tiles_of(int64_t rows) { return (rows + TILE - 1) / TILE; }

// A list of pairs, sorted by (offset, target row): source (pairs,), target (pairs,), and table (tiles + 1, volume):
// the pairs of offset k with targets in tile t are table[t, k] .. table[t + 1, k]. At one offset a row meets at most
// one other.
struct PairList {
    const int32_t *source, *target, *table;
    int64_t pairs, tiles, volume;

    int64_t begin(int64_t k) const { return table[k]; }
    int64_t end(int64_t k) const { return table[tiles * volume + k]; }
    // Throws unless the pairs of all offsets follow each other without a gap, from the first to the last.
    void check() const;
};

// Where the lists of a new PairList go.
struct PairMemory {
    Allocate<int32_t> source, target, table;
};

// Pairs (fine row, coarse row) with fine coordinate = coarse coordinate + offset; fine rows are the sources.
void neighbours(Pool& pool, const Coordinates& fine, const Coordinates& coarse, const Offsets& offsets,
                const PairMemory& result);

// The same pairs with the roles exchanged, for `rows` rows that become targets. Returns false if the exchanged lists
// are in order as they are: then only the table is made.
bool inverse(Pool& pool, const PairList& pairs, int64_t rows, const PairMemory& result);

// Every coordinate + offset that is a multiple of `step`, once, in the order of frames, then axes: (N, 1 + D).
void grow(Pool& pool, const Coordinates& coordinates, const Offsets& offsets, Steps step,
          const Allocate<int32_t>& result);

// Every coordinate rounded down to a multiple of `step`, likewise.
void strided(Pool& pool, const Coordinates& coordinates, Steps step, const Allocate<int32_t>& result);

}  // namespace mink_pd
