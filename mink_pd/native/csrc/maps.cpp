#include "maps.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "cells.h"
#include "tasks.h"

namespace mink_pd {
namespace {

// One task finds the pairs of this many tiles.
constexpr int64_t TILES_AT_ONCE = 8;
constexpr int64_t ROWS_AT_ONCE = TILES_AT_ONCE * TILE;

at::Tensor int32_tensor(at::IntArrayRef shape) { return at::empty(shape, at::kInt); }

// Turns the numbers of pairs by (tile, offset), in the table's first rows, into positions, for the first `counted`
// offsets; returns the total of these.
int64_t sum_up(int32_t* table, int64_t tiles, int64_t volume, int64_t counted) {
    int64_t sum = 0;
    for (int64_t k = 0; k < counted; ++k) {
        for (int64_t tile = 0; tile < tiles; ++tile) {
            const int32_t count = table[tile * volume + k];
            table[tile * volume + k] = int32_t(sum);
            sum += count;
        }
        table[tiles * volume + k] = int32_t(sum);
        TORCH_CHECK(sum <= std::numeric_limits<int32_t>::max() / 2, "a kernel map has more than 2^30 pairs");
    }
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

// Pairs sorted by offset alone, sorted by target too. Those of one offset have different sources and targets.
PairList sort_by_target(const at::Tensor& source, const at::Tensor& target, const at::Tensor& table, int64_t rows) {
    const int64_t volume = table.size(1);
    const int32_t *begin = table.const_data_ptr<int32_t>(), *end = begin + (table.size(0) - 1) * volume;
    const int32_t *from = source.const_data_ptr<int32_t>(), *to = target.const_data_ptr<int32_t>();
    const int64_t tiles = (rows + TILE - 1) / TILE;
    at::Tensor new_table = int32_tensor({tiles + 1, volume});
    int32_t* start = new_table.mutable_data_ptr<int32_t>();
    std::atomic<bool> sorted{true};
    for_each_task(volume, [&](int64_t k) {
        if (!std::is_sorted(to + begin[k], to + end[k])) sorted.store(false, std::memory_order_relaxed);
        fill_column(start + k, volume, tiles, to, begin[k], end[k]);
    });
    if (sorted) return {source, target, new_table};
    at::Tensor sources = at::empty_like(source), targets = at::empty_like(target);
    int32_t *new_source = sources.mutable_data_ptr<int32_t>(), *new_target = targets.mutable_data_ptr<int32_t>();
    for_each_task(volume, [&](int64_t k) {
        std::vector<int32_t> partner(rows, -1);
        for (int32_t p = begin[k]; p < end[k]; ++p) partner[to[p]] = from[p];
        int32_t at = begin[k];
        for (int64_t row = 0; row < rows; ++row) {
            if (partner[row] < 0) continue;
            new_source[at] = partner[row];
            new_target[at++] = int32_t(row);
        }
        fill_column(start + k, volume, tiles, new_target, begin[k], end[k]);
    });
    return {sources, targets, new_table};
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
void mirror(int32_t* source, int32_t* target, int32_t* table, int64_t tiles, int64_t volume) {
    const int32_t* ends = table + tiles * volume;
    const int64_t half = volume / 2;
    for_each_task(half, [&](int64_t k) {
        const int32_t begin = table[k], end = ends[k], at = ends[half] + ends[half - 1] - end;
        std::copy(source + begin, source + end, target + at);
        std::copy(target + begin, target + end, source + at);
        fill_column(table + volume - 1 - k, volume, tiles, target, at, at + end - begin);
    });
}

// Whether the offsets are each other's negatives, from both ends.
bool is_symmetric(const at::Tensor& offsets) { return at::equal(offsets.flip(0), offsets.neg()); }

PairList look_up(const at::Tensor& fine, const at::Tensor& coarse, const at::Tensor& offsets) {
    const bool same = fine.is_same(coarse);
    const Numbering numbering(same ? at::TensorList(fine) : at::TensorList({fine, coarse}), Reach(offsets));
    const Sites from(numbering, fine), other(numbering, same ? fine.slice(0, 0, 0) : coarse);
    const Sites& to = same ? from : other;
    const std::vector<Block> blocks = blocks_of(from.numbers, 0), pieces = blocks_of(to.numbers, TILE);
    const int64_t volume = offsets.size(0), rows = coarse.size(0), tiles = (rows + TILE - 1) / TILE;
    // Where j lies at an offset from i, i lies at the negative from j: half of the offsets need no search.
    const bool halved = same && volume % 2 == 1 && from.row.empty() && is_symmetric(offsets);
    const int64_t searched = halved ? volume / 2 + 1 : volume;
    const std::vector<Line> lines = join(lines_of(numbering, offsets.slice(0, 0, searched)));
    at::Tensor table = at::zeros({tiles + 1, volume}, at::kInt);
    int32_t* start = table.mutable_data_ptr<int32_t>();
    const auto piece_at = [&](int64_t row) {
        const auto earlier = [](const Block& piece, int64_t row) { return piece.before < row; };
        return std::lower_bound(pieces.data(), pieces.data() + pieces.size() - 1, row, earlier);
    };
    std::vector<std::vector<Pair>> pairs((tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE);
    split_tasks(int64_t(pairs.size()), [&](int64_t task, int64_t end) {
        PairFinder finder(lines, searched, blocks);
        for (; task < end; ++task)
            pairs[task] = finder.find(piece_at(task * ROWS_AT_ONCE), piece_at((task + 1) * ROWS_AT_ONCE), start, volume);
    });
    const int64_t found = sum_up(start, tiles, volume, searched), total = halved ? 2 * found - rows : found;
    at::Tensor sources = int32_tensor({total}), targets = int32_tensor({total});
    int32_t *source = sources.mutable_data_ptr<int32_t>(), *target = targets.mutable_data_ptr<int32_t>();
    split_tasks(int64_t(pairs.size()), [&](int64_t task, int64_t end) {
        for (; task < end; ++task) {
            const int32_t* first = start + task * TILES_AT_ONCE * volume;
            const int32_t* last = start + std::min(tiles, (task + 1) * TILES_AT_ONCE) * volume;
            const Pair* pair = pairs[task].data();
            for (int64_t k = 0; k < searched; ++k)
                for (int32_t at = first[k]; at < last[k]; ++at, ++pair) {
                    source[at] = from.row.empty() ? pair->source : from.row[pair->source];
                    target[at] = to.row.empty() ? pair->target : to.row[pair->target];
                }
        }
    });
    if (halved) mirror(source, target, start, tiles, volume);
    return to.row.empty() ? PairList(sources, targets, table) : sort_by_target(sources, targets, table, rows);
}

}  // namespace

PairList neighbours(const at::Tensor& fine, const at::Tensor& coarse, const at::Tensor& offsets) {
    check_coordinates(fine, offsets);
    check_coordinates(coarse, offsets);
    const at::Tensor a = fine.contiguous(), b = coarse.contiguous(), o = offsets.contiguous();
    if (a.size(0) == 0 || b.size(0) == 0)
        return {int32_tensor({0}), int32_tensor({0}),
                at::zeros({(b.size(0) + TILE - 1) / TILE + 1, o.size(0)}, at::kInt)};
    return look_up(a, b, o);
}

PairList inverse(const at::Tensor& source, const at::Tensor& target, const at::Tensor& table, int64_t rows) {
    return sort_by_target(target, source, table, rows);
}

}  // namespace mink_pd
