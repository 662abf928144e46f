#include "maps.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <vector>

#include "cells.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

// One task finds the pairs of this many tiles.
constexpr int64_t TILES_AT_ONCE = 8;
constexpr int64_t ROWS_AT_ONCE = TILES_AT_ONCE * TILE;

// Turns the numbers of pairs by (tile, offset), in the table's first rows, into positions, for the first `counted`
// offsets; returns the total of these.
int64_t sum_up(int32_t* table, int64_t tiles, int64_t volume, int64_t counted) {
    std::vector<int64_t> next(counted + 1, 0);  // the position of the next pair of each offset
    for (int64_t tile = 0; tile < tiles; ++tile)
        for (int64_t k = 0; k < counted; ++k) next[k + 1] += table[tile * volume + k];
    for (int64_t k = 0; k < counted; ++k) next[k + 1] += next[k];
    const int64_t sum = next[counted];
    require(sum <= std::numeric_limits<int32_t>::max() / 2, "a kernel map has more than 2^30 pairs");
    for (int64_t tile = 0; tile < tiles; ++tile)
        for (int64_t k = 0; k < counted; ++k) {
            const int32_t count = table[tile * volume + k];
            table[tile * volume + k] = int32_t(next[k]);
            next[k] += count;
        }
    for (int64_t k = 0; k < counted; ++k) table[tiles * volume + k] = int32_t(next[k]);
    return sum;
}

// Calls use(offset, piece, matches, window, before) for each offset of a line and each piece of coarse sites that has
// partners there: `window` are the 64 cells that the piece's block is led to, `matches` those of its sites that meet
// one, `before` the fine sites before the window.
template <typename Use>
void walk(const Line& line, const std::vector<Block>& fine, const Block* piece, const Block* end, Use&& use) {
    std::vector<uint64_t> cells(line.length);
    std::vector<int32_t> before(line.length);
    const int64_t count = int64_t(line.places.size());
    const auto earlier = [](const Block& block, int64_t number) { return block.number < number; };
    const Block* at = fine.data();
    if (piece < end) at = std::lower_bound(at, at + fine.size(), piece->number + line.shift, earlier);
    for (; piece < end; ++piece) {
        const int64_t first = piece->number + line.shift;
        while (at->number < first) ++at;
        if (at->number >= first + line.length) continue;
        const Block* block = at;
        for (int64_t i = 0; i < line.length; ++i) {
            before[i] = block->before;
            const bool there = block->number == first + i;
            cells[i] = there ? block->cells : 0;
            block += there;
        }
        // Which offsets have partners is hard to foretell: a mask of 64 at a time costs less than a branch for each.
        for (int64_t some = 0; some < count; some += 64) {
            const Line::Place* place = line.places.data() + some;
            const auto window = [&](const Line::Place& p) {
                return cells[p.block] >> p.bit | cells[p.block + 1] << 1 << (63 - p.bit);
            };
            uint64_t met = 0;
            for (int64_t i = 0; i < std::min<int64_t>(64, count - some); ++i)
                met |= uint64_t((piece->cells & window(place[i])) != 0) << i;
            for (; met != 0; met &= met - 1) {
                const Line::Place& p = place[__builtin_ctzll(met)];
                const uint64_t below = cells[p.block] & ((uint64_t(1) << p.bit) - 1), found = window(p);
                use(p.offset, *piece, piece->cells & found, found, before[p.block] + __builtin_popcountll(below));
            }
        }
    }
}

struct Pair {
    int32_t source, target;  // ranks among the fine and the coarse sites
};

// The pairs of ROWS_AT_ONCE coarse sites after the other, by offset; counts them by (tile, offset).
class PairFinder {
 public:
    PairFinder(const std::vector<Line>& lines, int64_t offsets, const std::vector<Block>& fine)
        : lines_(lines), fine_(fine), pairs_(offsets * ROWS_AT_ONCE), found_(offsets) {}

    std::vector<Pair> find(const Block* piece, const Block* end, int32_t* table, int64_t volume) {
        std::fill(found_.begin(), found_.end(), 0);
        for (const Line& line : lines_)
            walk(line, fine_, piece, end,
                 [&](int64_t k, const Block& piece, uint64_t matches, uint64_t window, int32_t rank) {
                     Pair* pair = pairs_.data() + k * ROWS_AT_ONCE + found_[k];
                     const int32_t count = __builtin_popcountll(matches);
                     found_[k] += count;
                     table[piece.before / TILE * volume + k] += count;
                     for (; matches != 0; matches &= matches - 1) {
                         const uint64_t below = (matches & -matches) - 1;
                         *pair++ = {rank + __builtin_popcountll(window & below),
                                    piece.before + __builtin_popcountll(piece.cells & below)};
                     }
                 });
        std::vector<Pair> result;
        int64_t total = 0;
        for (const int32_t count : found_) total += count;
        result.reserve(total);
        for (size_t k = 0; k < found_.size(); ++k) {
            const auto first = pairs_.begin() + k * ROWS_AT_ONCE;
            result.insert(result.end(), first, first + found_[k]);
        }
        return result;
    }

 private:
    const std::vector<Line>& lines_;
    const std::vector<Block>& fine_;
    std::vector<Pair> pairs_;  // (offsets, ROWS_AT_ONCE)
    std::vector<int32_t> found_;
};

// Fills an offset's column of a table: where the pairs of each tile begin among `begin` .. `end`, whose targets ascend.
void fill_column(int32_t* column, int64_t volume, int64_t tiles, const int32_t* target, int32_t begin, int32_t end) {
    int32_t at = begin;
    for (int64_t tile = 0; tile < tiles; ++tile) {
        column[tile * volume] = at;
        while (at < end && target[at] < (tile + 1) * TILE) ++at;
    }
    column[tiles * volume] = end;
}

// Pairs sorted by offset alone, sorted by target too; false if they are so already: then only the table is made.
bool sort_by_target(Pool& pool, const PairList& list, int64_t rows, const PairMemory& result) {
    list.check();
    const int64_t volume = list.volume, tiles = tiles_of(rows);
    const int32_t *from = list.source, *to = list.target;
    int32_t* start = result.table((tiles + 1) * volume);
    std::atomic<bool> sorted{true}, inside{true}, once{true};
    for_each_task(pool, volume, [&](int64_t k) {
        const int64_t begin = list.begin(k), end = list.end(k);
        if (!all_within(to + begin, end - begin, 0, rows) ||
            !all_within(from + begin, end - begin, 0, std::numeric_limits<int32_t>::max()))
            inside.store(false, std::memory_order_relaxed);
        else if (std::is_sorted(to + begin, to + end))
            fill_column(start + k, volume, tiles, to, int32_t(begin), int32_t(end));
        else
            sorted.store(false, std::memory_order_relaxed);
    });
    require(inside, "a pair's row is not one of the rows");
    if (sorted) return false;
    int32_t *new_source = result.source(list.pairs), *new_target = result.target(list.pairs);
    for_each_task(pool, volume, [&](int64_t k) {
        std::vector<int32_t> partner(rows, -1);
        for (int64_t p = list.begin(k); p < list.end(k); ++p) partner[to[p]] = from[p];
        int64_t at = list.begin(k);
        for (int64_t row = 0; row < rows; ++row) {
            if (partner[row] < 0) continue;
            new_source[at] = partner[row];
            new_target[at++] = int32_t(row);
        }
        if (at != list.end(k))
            once.store(false, std::memory_order_relaxed);
        else
            fill_column(start + k, volume, tiles, new_target, int32_t(list.begin(k)), int32_t(at));
    });
    require(once, "a row meets several others at one offset");
    return true;
}

// Joins lines that overlap or follow each other: one walk serves them all.
std::vector<Line> join(std::vector<Line> lines) {
    std::vector<Line> result;
    for (Line& line : lines) {
        if (result.empty() || line.shift > result.back().shift + result.back().length) {
            result.push_back(std::move(line));
            continue;
        }
        Line& last = result.back();
        const int64_t behind = line.shift - last.shift;
        last.length = std::max(last.length, behind + line.length);
        for (const Line::Place& place : line.places)
            last.places.push_back({place.offset, place.block + behind, place.bit});
    }
    return result;
}

// Fills in the pairs and the table of the second half of the offsets, which are those of the first half turned round;
// the middle one's are there.
void mirror(Pool& pool, int32_t* source, int32_t* target, int32_t* table, int64_t tiles, int64_t volume) {
    const int32_t* ends = table + tiles * volume;
    const int64_t half = volume / 2;
    for_each_task(pool, half, [&](int64_t k) {
        const int32_t begin = table[k], end = ends[k], at = ends[half] + ends[half - 1] - end;
        std::copy(source + begin, source + end, target + at);
        std::copy(target + begin, target + end, source + at);
        fill_column(table + volume - 1 - k, volume, tiles, target, at, at + end - begin);
    });
}

// Whether the offsets are each other's negatives, from both ends.
bool is_symmetric(const Offsets& offsets) {
    for (int64_t k = 0; k < offsets.count; ++k)
        for (int64_t d = 0; d < offsets.axes; ++d)
            if (int64_t(offsets[k][d]) != -int64_t(offsets[offsets.count - 1 - k][d])) return false;
    return true;
}

// Writes the pairs of the searched offsets where the table says.
void write_pairs(Pool& pool, const std::vector<std::vector<Pair>>& pairs, const PairList& list, int64_t searched,
                 const Sites& from, const Sites& to, int32_t* source, int32_t* target) {
    split_tasks(pool, int64_t(pairs.size()), [&](int64_t task, int64_t end) {
        for (; task < end; ++task) {
            const int32_t* first = list.table + task * TILES_AT_ONCE * list.volume;
            const int32_t* last = list.table + std::min(list.tiles, (task + 1) * TILES_AT_ONCE) * list.volume;
            const Pair* pair = pairs[task].data();
            for (int64_t k = 0; k < searched; ++k)
                for (int32_t at = first[k]; at < last[k]; ++at, ++pair) {
                    source[at] = from.row.empty() ? pair->source : from.row[pair->source];
                    target[at] = to.row.empty() ? pair->target : to.row[pair->target];
                }
        }
    });
}

void look_up(Pool& pool, const Coordinates& fine, const Coordinates& coarse, const Offsets& offsets,
             const PairMemory& result) {
    const bool same = fine.data == coarse.data && fine.rows == coarse.rows;
    const std::array both{fine, coarse};
    const Numbering numbering(pool, std::span(both).first(same ? 1 : 2), Reach(offsets));
    const Sites from(pool, numbering, fine), other = same ? Sites() : Sites(pool, numbering, coarse);
    const Sites& to = same ? from : other;
    std::vector<Block> blocks, pieces;
    for_each_task(pool, 2, [&](int64_t task) {
        if (task == 0)
            blocks = blocks_of(from.numbers, 0);
        else
            pieces = blocks_of(to.numbers, TILE);
    });
    const int64_t volume = offsets.count, rows = coarse.rows, tiles = tiles_of(rows);
    // Where j lies at an offset from i, i lies at the negative from j: half of the offsets need no search.
    const bool halved = same && volume % 2 == 1 && from.row.empty() && is_symmetric(offsets);
    const int64_t searched = halved ? volume / 2 + 1 : volume;
    const std::vector<Line> lines = join(lines_of(numbering, offsets.first(searched)));
    const bool in_order = to.row.empty();  // else the lists are sorted at last, from a place of their own
    std::vector<int32_t> own_table(in_order ? 0 : (tiles + 1) * volume);
    int32_t* start = in_order ? result.table((tiles + 1) * volume) : own_table.data();
    std::fill(start, start + (tiles + 1) * volume, 0);
    const auto piece_at = [&](int64_t row) {
        const auto earlier = [](const Block& piece, int64_t row) { return piece.before < row; };
        return std::lower_bound(pieces.data(), pieces.data() + pieces.size() - 1, row, earlier);
    };
    std::vector<std::vector<Pair>> pairs((tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE);
    split_tasks(pool, int64_t(pairs.size()), [&](int64_t task, int64_t end) {
        PairFinder finder(lines, searched, blocks);
        for (; task < end; ++task)
            pairs[task] =
                finder.find(piece_at(task * ROWS_AT_ONCE), piece_at((task + 1) * ROWS_AT_ONCE), start, volume);
    });
    const int64_t found = sum_up(start, tiles, volume, searched), total = halved ? 2 * found - rows : found;
    Scratch<int32_t> own_source(in_order ? 0 : total), own_target(in_order ? 0 : total);
    int32_t* source = in_order ? result.source(total) : own_source.data();
    int32_t* target = in_order ? result.target(total) : own_target.data();
    const PairList list{source, target, start, total, tiles, volume};
    write_pairs(pool, pairs, list, searched, from, to, source, target);
    if (halved) mirror(pool, source, target, start, tiles, volume);
    if (in_order || sort_by_target(pool, list, rows, result)) return;
    std::copy(source, source + total, result.source(total));
    std::copy(target, target + total, result.target(total));
}

}  // namespace

void PairList::check() const {
    require(volume == 0 || table[0] == 0, "the table of a kernel map does not begin with the first pair");
    for (int64_t k = 0; k < volume; ++k) {
        const int64_t following = k + 1 < volume ? begin(k + 1) : pairs;
        require(begin(k) <= end(k) && end(k) == following, "the table of a kernel map does not fit its pairs");
    }
}

void neighbours(Pool& pool, const Coordinates& fine, const Coordinates& coarse, const Offsets& offsets,
                const PairMemory& result) {
    if (fine.rows > 0 && coarse.rows > 0) return look_up(pool, fine, coarse, offsets, result);
    const int64_t size = (tiles_of(coarse.rows) + 1) * offsets.count;
    int32_t* table = result.table(size);
    std::fill(table, table + size, 0);
    result.source(0), result.target(0);
}

bool inverse(Pool& pool, const PairList& pairs, int64_t rows, const PairMemory& result) {
    return sort_by_target(pool, {pairs.target, pairs.source, pairs.table, pairs.pairs, pairs.tiles, pairs.volume}, rows,
                          result);
}

}  // namespace mink_pd
