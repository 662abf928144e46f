// Points sorted into voxels: which cells are occupied, in the order of their codes, and the row of each point.
//
// A code numbers the cells of a batch, frame first, then x, y, z. Two levels of bits replace a sort: one bit for each
// block of 64 codes, and 64 bits for each block that is occupied. Counting the bits before a code gives its row, so
// the order of the rows comes by itself, and what is looked up at random stays in the processor's cache.
#include "voxels.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t POINTS_AT_ONCE = 16384, WORDS_AT_ONCE = 256;
constexpr int64_t MOST_CELLS_OF_AN_AXIS = 1 << 24;  // whole numbers that float32 tells apart
constexpr int64_t MOST_CELLS = int64_t(1) << 38;    // whose bits take 800 MB
constexpr const char* TOO_MANY_CELLS = "the grid has more than 2^38 cells";

class Bits {
 public:
    explicit Bits(int64_t bits) : words_((bits + 63) / 64), before_(words_.size()) {}

    int64_t words() const { return int64_t(words_.size()); }
    uint64_t word(int64_t w) const { return words_[w]; }
    // By several threads at once: most bits are set already, and then nothing is written.
    void set(int64_t bit) {
        const uint64_t mask = uint64_t(1) << (bit & 63);
        std::atomic_ref<uint64_t> word(words_[bit >> 6]);
        if ((word.load(std::memory_order_relaxed) & mask) == 0) word.fetch_or(mask, std::memory_order_relaxed);
    }
    // Makes rank() valid; returns how many bits are set.
    int64_t count() {
        int64_t sum = 0;
        for (size_t w = 0; w < words_.size(); ++w) {
            before_[w] = int32_t(sum);
            sum += __builtin_popcountll(words_[w]);
        }
        return sum;
    }
    // How many bits are set before this one.
    int64_t rank(int64_t bit) const {
        const uint64_t below = (uint64_t(1) << (bit & 63)) - 1;
        return before_[bit >> 6] + __builtin_popcountll(words_[bit >> 6] & below);
    }

 private:
    std::vector<uint64_t> words_;
    std::vector<int32_t> before_;
};

// Calls use(bit) for every bit that is set, ascending.
template <typename Use>
void for_each_bit(uint64_t word, Use&& use) {
    for (; word != 0; word &= word - 1) use(__builtin_ctzll(word));
}

struct Grid {
    float lower[3], size[3], shape[3];
    int64_t stride[3];  // of the code along x, y, z; 0 where the cells are not told apart
    int64_t cells;      // a frame

    Grid(const VoxelGrid& grid, int64_t frames) : stride{}, cells(1) {
        require(grid.dimensions == 2 || grid.dimensions == 3, "dimensions must be 2 or 3");
        require(frames >= 0 && frames <= std::numeric_limits<int32_t>::max(), "the number of frames is out of range");
        for (int axis = 3; axis-- > 0;) {
            lower[axis] = grid.lower[axis];
            size[axis] = grid.size[axis];
            shape[axis] = float(grid.shape[axis]);
            require(std::isfinite(lower[axis]), "lower must be finite");
            require(std::isfinite(size[axis]) && size[axis] > 0, "size must be positive and finite");
            require(grid.shape[axis] >= 1 && grid.shape[axis] <= MOST_CELLS_OF_AN_AXIS,
                    "shape must be 1 to 2^24 cells");
            if (axis >= grid.dimensions) continue;
            stride[axis] = cells;
            require(!__builtin_mul_overflow(cells, grid.shape[axis], &cells), TOO_MANY_CELLS);
        }
        int64_t all;
        require(!__builtin_mul_overflow(cells, frames, &all) && all <= MOST_CELLS, TOO_MANY_CELLS);
    }

    // The cell's code within its frame, -1 outside. True division, as published detectors compute it.
    int64_t code(const float* xyz) const {
        int64_t code = 0;
        for (int axis = 0; axis < 3; ++axis) {
            const float cell = (xyz[axis] - lower[axis]) / size[axis];
            if (!(cell >= 0 && cell < shape[axis])) return -1;  // NaN too
            code += int64_t(cell) * stride[axis];
        }
        return code;
    }
};

// Codes of all points, -1 for those outside, and where each chunk's points go once those are left out (chunks + 1).
std::vector<int64_t> code_points(Pool& pool, const Grid& grid, const FramePoints& points, int64_t frames,
                                 std::vector<int64_t>& codes) {
    const int64_t count = points.count, columns = points.columns;
    const int64_t chunks = (count + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE;
    std::vector<int64_t> start(chunks + 1, 0);
    std::atomic<bool> misplaced{false};
    for_each_task(pool, chunks, [&](int64_t chunk) {
        const int64_t last = std::min(count, (chunk + 1) * POINTS_AT_ONCE);
        int64_t inside = 0;
        for (int64_t p = chunk * POINTS_AT_ONCE; p < last; ++p) {
            const int64_t code = grid.code(points.values + p * columns), frame = points.frame[p];
            if (frame < 0 || frame >= frames) {
                misplaced.store(true, std::memory_order_relaxed);
                break;
            }
            codes[p] = code < 0 ? -1 : code + frame * grid.cells;
            inside += code >= 0;
        }
        start[chunk + 1] = inside;
    });
    require(!misplaced, "a point's frame is not one of the batch's");
    for (int64_t chunk = 0; chunk < chunks; ++chunk) start[chunk + 1] += start[chunk];
    return start;
}

// Writes the coordinates of all cells, (M, 1 + D), in the order of their codes. One division a block: its cells follow
// by counting on.
void write_coordinates(Pool& pool, const Grid& grid, const Bits& blocks, const Bits& cells, int64_t dimensions,
                       int32_t* base) {
    const int64_t columns = 1 + dimensions;
    for_each_task(pool, (blocks.words() + WORDS_AT_ONCE - 1) / WORDS_AT_ONCE, [&](int64_t task) {
        const int64_t last = std::min(blocks.words(), (task + 1) * WORDS_AT_ONCE);
        for (int64_t w = task * WORDS_AT_ONCE; w < last; ++w)
            for_each_bit(blocks.word(w), [&](int64_t b) {
                const int64_t block = w * 64 + b, at = blocks.rank(block);
                int32_t* to = base + cells.rank(at * 64) * columns;
                int32_t here[4] = {int32_t(block * 64 / grid.cells)};
                for (int64_t axis = 0, rest = block * 64 % grid.cells; axis < dimensions; ++axis) {
                    here[1 + axis] = int32_t(rest / grid.stride[axis]);
                    rest %= grid.stride[axis];
                }
                int64_t before = 0;
                for_each_bit(cells.word(at), [&](int64_t cell) {
                    here[dimensions] += int32_t(cell - before);
                    before = cell;
                    for (int64_t axis = dimensions; axis > 0; --axis)
                        for (const int32_t edge = int32_t(grid.shape[axis - 1]); here[axis] >= edge; ++here[axis - 1])
                            here[axis] -= edge;
                    for (int64_t column = 0; column < columns; ++column) *to++ = here[column];
                });
            });
    });
}

}  // namespace

void voxelise(Pool& pool, const FramePoints& points, int64_t frames, const VoxelGrid& voxels,
              const VoxelMemory& result) {
    require(points.columns >= 3, "points must have three or more columns");
    require(points.count <= std::numeric_limits<int32_t>::max(), "more than 2^31 points");
    const Grid grid(voxels, frames);
    const int64_t count = points.count, columns = points.columns;
    std::vector<int64_t> codes(count);
    const std::vector<int64_t> start = code_points(pool, grid, points, frames, codes);
    const int64_t kept = start.back(), chunks = int64_t(start.size()) - 1;

    Bits blocks(frames * grid.cells / 64 + 1);
    const float* from = points.values;
    float* to_points = result.points(kept * columns);
    int64_t* row = result.rows(kept);  // the code at first
    for_each_task(pool, chunks, [&](int64_t chunk) {
        const int64_t last = std::min(count, (chunk + 1) * POINTS_AT_ONCE);
        int64_t to = start[chunk], run = chunk * POINTS_AT_ONCE;  // points inside come in long runs
        const auto copy_run = [&](int64_t end) {
            if (end > run)  // memcpy takes no null pointer, not even for nothing
                std::memcpy(to_points + (to - (end - run)) * columns, from + run * columns,
                            (end - run) * columns * sizeof(float));
            run = end + 1;
        };
        for (int64_t p = run; p < last; ++p) {
            if (codes[p] < 0) {
                copy_run(p);
                continue;
            }
            row[to++] = codes[p];
            blocks.set(codes[p] >> 6);
        }
        copy_run(last);
    });
    Bits cells(blocks.count() * 64);
    const auto for_each_kept = [&](auto&& use) {
        for_each_task(pool, (kept + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE, [&](int64_t chunk) {
            const int64_t last = std::min(kept, (chunk + 1) * POINTS_AT_ONCE);
            for (int64_t q = chunk * POINTS_AT_ONCE; q < last; ++q) use(row[q]);
        });
    };
    for_each_kept([&](int64_t& place) {
        place = blocks.rank(place >> 6) * 64 + (place & 63);
        cells.set(place);
    });
    const int64_t occupied = cells.count();
    for_each_kept([&](int64_t& place) { place = cells.rank(place); });
    int64_t* points_of = result.counts(occupied);
    std::fill(points_of, points_of + occupied, 0);
    for (int64_t q = 0; q < kept; ++q) ++points_of[row[q]];
    write_coordinates(pool, grid, blocks, cells, voxels.dimensions,
                      result.coordinates(occupied * (1 + voxels.dimensions)));
}

}  // namespace mink_pd
