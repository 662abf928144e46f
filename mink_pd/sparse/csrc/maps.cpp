#include "maps.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <unordered_map>
#include <vector>

#include "tasks.h"

namespace mink_pd {
namespace {

// Numbers the cells of a box so large that a coordinate plus any offset stays inside: sums of numbers are then
// numbers of sums, and no lookup needs a check of bounds.
struct Box {
    std::vector<int64_t> low, step;  // per column of the coordinates, frame first
    uint64_t cells = 1;

    Box(const at::Tensor& fine, const at::Tensor& coarse, const at::Tensor& offsets) {
        const int64_t columns = fine.size(1);
        std::vector<int64_t> high(columns, std::numeric_limits<int32_t>::min());
        low.assign(columns, std::numeric_limits<int32_t>::max());
        for (const at::Tensor* rows : {&fine, &coarse}) {
            const int32_t* value = rows->const_data_ptr<int32_t>();
            for (int64_t i = 0; i < rows->size(0); ++i)
                for (int64_t d = 0; d < columns; ++d, ++value) {
                    low[d] = std::min<int64_t>(low[d], *value);
                    high[d] = std::max<int64_t>(high[d], *value);
                }
        }
        const int32_t* offset = offsets.const_data_ptr<int32_t>();
        std::vector<int64_t> reach(columns, 0);
        for (int64_t k = 0; k < offsets.size(0); ++k)
            for (int64_t d = 1; d < columns; ++d, ++offset)
                reach[d] = std::max<int64_t>(reach[d], std::abs(int64_t(*offset)));
        step.assign(columns, 0);
        for (int64_t d = columns; d-- > 0;) {
            low[d] -= reach[d];
            step[d] = int64_t(cells);
            TORCH_CHECK(!__builtin_mul_overflow(cells, uint64_t(high[d] + reach[d] - low[d] + 1), &cells) &&
                            cells < (uint64_t(1) << 62),
                        "coordinates span too large a box for a kernel map");
        }
    }

    uint64_t number(const int32_t* coordinate) const {
        uint64_t n = 0;
        for (size_t d = 0; d < low.size(); ++d) n += uint64_t(coordinate[d] - low[d]) * uint64_t(step[d]);
        return n;
    }
    int64_t shift(const int32_t* offset) const {
        int64_t n = 0;
        for (size_t d = 1; d < low.size(); ++d) n += int64_t(offset[d - 1]) * step[d];
        return n;
    }
};

// Rows by cell number: open addressing with linear probing, at most a third full. Most cells asked for are empty, so
// a bit for each of a far larger number of homes, small enough for the cache, rules nearly all of them out first.
class RowOfCell {
   public:
    explicit RowOfCell(int64_t rows) {
        int bits = 6;
        while ((int64_t(1) << bits) < 3 * rows) ++bits;
        mask_ = (uint64_t(1) << bits) - 1;
        slot_shift_ = 64 - bits;
        bit_shift_ = slot_shift_ - 4;  // 16 bits a slot
        slots_.assign(mask_ + 1, {EMPTY, -1});
        occupied_.assign((mask_ + 1) / 4, 0);
    }
    void insert(uint64_t cell, int32_t row) {
        uint64_t at = hash(cell) >> slot_shift_;
        while (slots_[at].cell != EMPTY) at = (at + 1) & mask_;
        slots_[at] = {cell, row};
        const uint64_t bit = hash(cell) >> bit_shift_;
        occupied_[bit >> 6] |= uint64_t(1) << (bit & 63);
    }
    // 0 if the cell is empty for certain, else 1
    uint64_t may_hold(uint64_t cell) const {
        const uint64_t bit = hash(cell) >> bit_shift_;
        return (occupied_[bit >> 6] >> (bit & 63)) & 1;
    }
    int32_t find(uint64_t cell) const {
        for (uint64_t at = hash(cell) >> slot_shift_;; at = (at + 1) & mask_)
            if (slots_[at].cell == cell || slots_[at].cell == EMPTY) return slots_[at].row;
    }

   private:
    static constexpr uint64_t EMPTY = std::numeric_limits<uint64_t>::max();
    struct Slot {
        uint64_t cell;
        int32_t row;
    };
    static uint64_t hash(uint64_t cell) { return cell * 0x9E3779B97F4A7C15u; }  // Fibonacci hashing
    std::vector<Slot> slots_;
    std::vector<uint64_t> occupied_;
    uint64_t mask_;
    int slot_shift_, bit_shift_;
};

// One task finds the pairs of this many tiles.
constexpr int64_t TILES_AT_ONCE = 8;
struct Hit {
    int32_t offset, source, target;
};

at::Tensor int32_tensor(at::IntArrayRef shape) { return at::empty(shape, at::kInt); }

// Turns the numbers of pairs by (tile, offset), in the table's first rows, into positions; returns the total.
int64_t sum_up(int32_t* table, int64_t tiles, int64_t volume) {
    int64_t sum = 0;
    for (int64_t k = 0; k < volume; ++k) {
        for (int64_t tile = 0; tile < tiles; ++tile) {
            const int32_t count = table[tile * volume + k];
            table[tile * volume + k] = int32_t(sum);
            sum += count;
        }
        table[tiles * volume + k] = int32_t(sum);
        TORCH_CHECK(sum <= std::numeric_limits<int32_t>::max(), "a kernel map has more than 2^31 pairs");
    }
    return sum;
}

// Pairs of one target row, offsets ascending; 64 offsets at a time, so that a bit mask can say which to look up.
void find_pairs(const RowOfCell& rows, uint64_t cell, const std::vector<int64_t>& shift, int32_t target,
                int32_t* count, std::vector<Hit>& hits) {
    const int64_t volume = int64_t(shift.size());
    for (int64_t first = 0; first < volume; first += 64) {
        const int64_t some = std::min<int64_t>(64, volume - first);
        uint64_t maybe = 0;
        for (int64_t k = 0; k < some; ++k) maybe |= rows.may_hold(cell + uint64_t(shift[first + k])) << k;
        for (; maybe != 0; maybe &= maybe - 1) {
            const int64_t k = first + __builtin_ctzll(maybe);
            const int32_t source = rows.find(cell + uint64_t(shift[k]));
            if (source < 0) continue;
            ++count[k];
            hits.push_back({int32_t(k), source, target});
        }
    }
}

void check_coordinates(const at::Tensor& coordinates, const at::Tensor& offsets) {
    TORCH_CHECK(coordinates.dim() == 2 && offsets.dim() == 2 && offsets.size(1) == coordinates.size(1) - 1,
                "coordinates must be (M, 1 + D) and offsets (K, D)");
}

PairList look_up(const at::Tensor& fine, const at::Tensor& coarse, const at::Tensor& offsets) {
    const Box box(fine, coarse, offsets);
    RowOfCell row_of_cell(fine.size(0));
    const int64_t columns = fine.size(1), volume = offsets.size(0), rows = coarse.size(0);
    const int64_t tiles = (rows + TILE - 1) / TILE;
    const int32_t *from = fine.const_data_ptr<int32_t>(), *to = coarse.const_data_ptr<int32_t>();
    for (int64_t i = 0; i < fine.size(0); ++i) row_of_cell.insert(box.number(from + i * columns), int32_t(i));
    std::vector<int64_t> shift(volume);
    for (int64_t k = 0; k < volume; ++k)
        shift[k] = box.shift(offsets.const_data_ptr<int32_t>() + k * (columns - 1));

    at::Tensor table = int32_tensor({tiles + 1, volume});
    int32_t* start = table.mutable_data_ptr<int32_t>();
    std::fill(start, start + table.numel(), 0);
    std::vector<std::vector<Hit>> hits((tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE);
    for_each_task(int64_t(hits.size()), [&](int64_t task) {
        const int64_t first = task * TILES_AT_ONCE * TILE, last = std::min(rows, first + TILES_AT_ONCE * TILE);
        hits[task].reserve((last - first) * std::min<int64_t>(volume, 8));
        for (int64_t row = first; row < last; ++row)
            find_pairs(row_of_cell, box.number(to + row * columns), shift, int32_t(row), start + row / TILE * volume,
                       hits[task]);
    });
    const int64_t pairs = sum_up(start, tiles, volume);
    at::Tensor sources = int32_tensor({pairs}), targets = int32_tensor({pairs});
    int32_t *source = sources.mutable_data_ptr<int32_t>(), *target = targets.mutable_data_ptr<int32_t>();
    for_each_task(int64_t(hits.size()), [&](int64_t task) {
        const int32_t* begin = start + task * TILES_AT_ONCE * volume;
        std::vector<int32_t> at(begin, begin + volume);
        for (const Hit& hit : hits[task]) {
            source[at[hit.offset]] = hit.source;
            target[at[hit.offset]++] = hit.target;
        }
    });
    return {sources, targets, table};
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
    const int64_t volume = table.size(1), tiles = (rows + TILE - 1) / TILE;
    const int32_t *begin = table.const_data_ptr<int32_t>(), *end = begin + (table.size(0) - 1) * volume;
    const int32_t *from = source.const_data_ptr<int32_t>(), *to = target.const_data_ptr<int32_t>();
    at::Tensor sources = at::empty_like(source), targets = at::empty_like(target);
    at::Tensor inverse_table = int32_tensor({tiles + 1, volume});
    int32_t *new_source = sources.mutable_data_ptr<int32_t>(), *new_target = targets.mutable_data_ptr<int32_t>();
    int32_t* start = inverse_table.mutable_data_ptr<int32_t>();
    for_each_task(volume, [&](int64_t k) {
        std::vector<int32_t> partner(rows, -1);
        for (int32_t p = begin[k]; p < end[k]; ++p) partner[from[p]] = to[p];
        int32_t at = begin[k];
        for (int64_t row = 0; row < rows; ++row) {
            if (row % TILE == 0) start[row / TILE * volume + k] = at;
            if (partner[row] < 0) continue;
            new_source[at] = partner[row];
            new_target[at++] = int32_t(row);
        }
        start[tiles * volume + k] = at;
    });
    return {sources, targets, inverse_table};
}

at::Tensor grow(const at::Tensor& coordinates, const at::Tensor& offsets, at::IntArrayRef step) {
    check_coordinates(coordinates, offsets);
    TORCH_CHECK(int64_t(step.size()) == offsets.size(1), "step must be (D,)");
    const int64_t columns = coordinates.size(1), volume = offsets.size(0);
    const at::Tensor rows = coordinates.contiguous(), o = offsets.contiguous();
    if (rows.size(0) == 0) return int32_tensor({0, columns});
    const Box box(rows, rows, o);
    // Coordinate + offset is a multiple of step where their residues are opposite: list offsets by residue.
    const int64_t axes = columns - 1;
    const int32_t* offset = o.const_data_ptr<int32_t>();
    const auto residue = [&](const int32_t* value, int64_t sign) {
        int64_t code = 0;
        for (int64_t d = 0; d < axes; ++d) code = code * step[d] + (sign * value[d] % step[d] + step[d]) % step[d];
        return code;
    };
    std::unordered_map<int64_t, std::vector<const int32_t*>> fitting;
    for (int64_t k = 0; k < volume; ++k) fitting[residue(offset + k * axes, -1)].push_back(offset + k * axes);
    std::vector<int32_t> places;
    for (int64_t i = 0; i < rows.size(0); ++i) {
        const int32_t* from = rows.const_data_ptr<int32_t>() + i * columns;
        const auto offsets_here = fitting.find(residue(from + 1, 1));
        if (offsets_here == fitting.end()) continue;
        for (const int32_t* by : offsets_here->second) {
            places.push_back(from[0]);
            for (int64_t d = 0; d < axes; ++d) places.push_back(from[1 + d] + by[d]);
        }
    }
    const int64_t found = int64_t(places.size()) / columns;
    RowOfCell seen(found);
    int64_t kept = 0;
    for (int64_t i = 0; i < found; ++i) {
        const uint64_t cell = box.number(places.data() + i * columns);
        if (seen.find(cell) >= 0) continue;
        seen.insert(cell, int32_t(kept));
        std::copy_n(places.data() + i * columns, columns, places.data() + kept++ * columns);
    }
    at::Tensor result = int32_tensor({kept, columns});
    std::copy_n(places.data(), kept * columns, result.mutable_data_ptr<int32_t>());
    return result;
}

}  // namespace mink_pd
