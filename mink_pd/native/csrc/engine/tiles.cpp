#include "tiles.h"

#include <algorithm>

#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

// Rows of a tile: enough pairs of an offset that its weights are used many times over once they are in the cache, but
// tiles for all threads.
constexpr int64_t LEAST_ROWS = 48, MOST_ROWS_OF_A_TILE = 192;

int64_t height_of(int64_t rows, int64_t threads) {
    const int64_t tasks = threads == 1 ? 1 : 4 * threads;
    return std::clamp((rows + tasks - 1) / tasks, LEAST_ROWS, MOST_ROWS_OF_A_TILE);
}

}  // namespace

void add_pairs(const SiteGrid& fine, const Kernel& kernel, int64_t x, int64_t y, int64_t target, PairSlots& pairs) {
    for (int64_t i = 0; i < kernel.edge; ++i) {
        const int64_t cell = fine.cell(x + kernel.first + i, y + kernel.first);
        const uint64_t window = fine.window(cell);
        int32_t source = fine.rank(cell);
        for (int64_t j = 0; j < kernel.edge; ++j) {
            const int32_t there = window >> j & 1;
            pairs.add(j * kernel.edge + i, source, target, there);
            source += there;
        }
    }
}

void TileMap::find(Pool& pool, const SiteGrid& fine, const SiteGrid& coarse, const Kernel& kernel, int64_t stride) {
    rows_ = coarse.rows(), volume_ = kernel.volume(), height_ = height_of(rows_, pool.threads());
    memory_.sized(tiles() * PairSlots::size(volume_, height_));
    const int32_t* cells = coarse.cells();
    for_each_task(pool, tiles(), [&](int64_t tile) {
        PairSlots slots = pairs(tile);
        slots.clear();
        for (int64_t row = first(tile); row < first(tile) + count(tile); ++row)
            add_pairs(fine, kernel, coarse.x_of(cells[row]) * stride, coarse.y_of(cells[row]) * stride, row, slots);
    });
}

PairSlots TileMap::pairs(int64_t tile) const {
    int32_t* memory = const_cast<int32_t*>(memory_.data()) + tile * PairSlots::size(volume_, height_);
    return PairSlots(memory, volume_, height_);
}

void convolve(Pool& pool, const Layer& layer, SourceRows x, const TileMap& map, float* y) {
    for_each_task(pool, map.tiles(), [&](int64_t tile) {
        const int64_t first = map.first(tile);
        convolve(layer, x, map.pairs(tile), {y + first * layer.width, layer.width}, first, map.count(tile));
    });
}

}  // namespace mink_pd::engine
