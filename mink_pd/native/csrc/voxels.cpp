// Points sorted into voxels: which cells are occupied, in the order of their codes, and the row of each point.
//
// A code numbers the cells of a batch, frame first, then x, y, z. Two levels of bits replace a sort: one bit for each
// block of 64 codes, and 64 bits for each block that is occupied. Counting the bits before a code gives its row, so
// the order of the rows comes by itself, and what is looked up at random stays in the processor's cache.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t POINTS_AT_ONCE = 16384, WORDS_AT_ONCE = 256;

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

Grid make_grid(const at::Tensor& lower, const at::Tensor& size, at::IntArrayRef shape, int64_t dimensions) {
    TORCH_CHECK(lower.numel() == 3 && size.numel() == 3 && shape.size() == 3 && (dimensions == 2 || dimensions == 3),
                "lower, size and shape must be given along x, y and z, dimensions must be 2 or 3");
    Grid grid{};
    grid.cells = 1;
    for (int axis = 3; axis-- > 0;) {
        grid.lower[axis] = lower.const_data_ptr<float>()[axis];
        grid.size[axis] = size.const_data_ptr<float>()[axis];
        grid.shape[axis] = float(shape[axis]);
        if (axis >= dimensions) continue;
        grid.stride[axis] = grid.cells;
        grid.cells *= shape[axis];
    }
    return grid;
}

void check_points(const at::Tensor& points, const at::Tensor& frame) {
    TORCH_CHECK(points.dim() == 2 && points.size(1) >= 3 && frame.dim() == 1 && frame.size(0) == points.size(0),
                "points must be (P, 3 or more columns) and frame (P,)");
    TORCH_CHECK(points.size(0) <= std::numeric_limits<int32_t>::max(), "more than 2^31 points");
}

// Codes of all points, -1 for those outside, and where each chunk's points go once those are left out (chunks + 1).
std::vector<int64_t> code_points(const Grid& grid, const at::Tensor& points, const int64_t* frame, int64_t frames,
                                 std::vector<int64_t>& codes) {
    const int64_t count = points.size(0), columns = points.size(1);
    const int64_t chunks = (count + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE;
    const float* from = points.const_data_ptr<float>();
    std::vector<int64_t> start(chunks + 1, 0);
    std::atomic<bool> misplaced{false};
    for_each_task(chunks, [&](int64_t chunk) {
        const int64_t last = std::min(count, (chunk + 1) * POINTS_AT_ONCE);
        int64_t inside = 0;
        for (int64_t p = chunk * POINTS_AT_ONCE; p < last; ++p) {
            const int64_t code = grid.code(from + p * columns);
            codes[p] = code < 0 ? -1 : code + frame[p] * grid.cells;
            inside += code >= 0;
            if (frame[p] < 0 || frame[p] >= frames) misplaced = true;
        }
        start[chunk + 1] = inside;
    });
    TORCH_CHECK(!misplaced, "a point's frame is not one of the batch's");
    for (int64_t chunk = 0; chunk < chunks; ++chunk) start[chunk + 1] += start[chunk];
    return start;
}

// The coordinates of all cells, int32 (M, 1 + D), in the order of their codes. One division a block: its cells follow
// by counting on.
at::Tensor coordinates_of(const Grid& grid, const Bits& blocks, const Bits& cells, int64_t rows, int64_t dimensions) {
    const int64_t columns = 1 + dimensions;
    at::Tensor coordinates = at::empty({rows, columns}, at::kInt);
    int32_t* const base = coordinates.mutable_data_ptr<int32_t>();
    for_each_task((blocks.words() + WORDS_AT_ONCE - 1) / WORDS_AT_ONCE, [&](int64_t task) {
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
    return coordinates;
}

// Points float32 (P, 3+) of frames int64 (P,) into cells of `size` from `lower` on, `shape` cells along x, y, z:
// coordinates int32 (M, 1 + D) sorted, the points inside (Q, 3+) in their order, the row of each int64 (Q,), and the
// number of points of each row int64 (M,).
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> voxelise(
    const at::Tensor& some_points, const at::Tensor& some_frame, int64_t frames, const at::Tensor& lower,
    const at::Tensor& size, at::IntArrayRef shape, int64_t dimensions) {
    const at::Tensor points = some_points.contiguous(), frame = some_frame.contiguous();
    check_points(points, frame);
    const Grid grid = make_grid(lower, size, shape, dimensions);
    const int64_t count = points.size(0), columns = points.size(1);
    std::vector<int64_t> codes(count);
    const std::vector<int64_t> start = code_points(grid, points, frame.const_data_ptr<int64_t>(), frames, codes);
    const int64_t kept = start.back(), chunks = int64_t(start.size()) - 1;

    Bits blocks(frames * grid.cells / 64 + 1);
    at::Tensor inside = at::empty({kept, columns}, points.options()), rows = at::empty({kept}, at::kLong);
    const float* from = points.const_data_ptr<float>();
    float* to_points = inside.mutable_data_ptr<float>();
    int64_t* row = rows.mutable_data_ptr<int64_t>();  // the code at first
    for_each_task(chunks, [&](int64_t chunk) {
        const int64_t last = std::min(count, (chunk + 1) * POINTS_AT_ONCE);
        int64_t to = start[chunk], run = chunk * POINTS_AT_ONCE;  // points inside come in long runs
        const auto copy_run = [&](int64_t end) {
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
        for_each_task((kept + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE, [&](int64_t chunk) {
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
    at::Tensor counts = at::empty({occupied}, at::kLong);
    int64_t* points_of = counts.mutable_data_ptr<int64_t>();
    std::fill(points_of, points_of + occupied, 0);
    for (int64_t q = 0; q < kept; ++q) ++points_of[row[q]];
    return {coordinates_of(grid, blocks, cells, occupied, dimensions), inside, rows, counts};
}

}  // namespace
}  // namespace mink_pd

TORCH_LIBRARY_FRAGMENT(mink_pd, library) {
    library.def("voxelise(Tensor points, Tensor frame, int frames, Tensor lower, Tensor size, int[] shape, "
                "int dimensions) -> (Tensor, Tensor, Tensor, Tensor)",
                &mink_pd::voxelise);
}
