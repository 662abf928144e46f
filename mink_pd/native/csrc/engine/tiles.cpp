#include "tiles.h"

#include <algorithm>

#include "core/tasks.h"

namespace mink_pd::engine {
namespace {

// Rows of a tile: enough pairs of an offset that its weights are used many times over once they are in the cache, but
// more tiles than threads: a tile waits for up to three of the layer before.
constexpr int64_t LEAST_ROWS = 48, MOST_ROWS_OF_A_TILE = 192;

int64_t height_of(int64_t rows, int64_t threads) {
    const int64_t tasks = threads == 1 ? 1 : 2 * threads + 2;
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

void TileMap::cut(int64_t threads, const SiteGrid& fine, const SiteGrid& coarse, const Kernel& kernel, int64_t stride) {
    fine_ = &fine, coarse_ = &coarse, kernel_ = kernel, stride_ = stride;
    rows_ = coarse.rows(), height_ = height_of(rows_, threads);
    memory_.sized(tiles() * PairSlots::size(kernel.volume(), height_));
}

void TileMap::find(int64_t tile) {
    PairSlots slots = pairs(tile);
    slots.clear();
    const int32_t* cells = coarse_->cells();
    for (int64_t row = first(tile); row < first(tile) + count(tile); ++row)
        add_pairs(*fine_, kernel_, coarse_->x_of(cells[row]) * stride_, coarse_->y_of(cells[row]) * stride_, row,
                  slots);
}

void TileMap::find(Pool& pool, const SiteGrid& fine, const SiteGrid& coarse, const Kernel& kernel, int64_t stride) {
    cut(pool.threads(), fine, coarse, kernel, stride);
    for_each_task(pool, tiles(), [&](int64_t tile) { find(tile); });
}

Range TileMap::sources(int64_t tile) const {
    const int32_t* cells = coarse_->cells() + first(tile);
    const int64_t from = coarse_->x_of(cells[0]) * stride_ + kernel_.first;
    const int64_t to = coarse_->x_of(cells[count(tile) - 1]) * stride_ + kernel_.first + kernel_.edge;
    return {fine_->rank(fine_->cell(from, 0)), fine_->rank(fine_->cell(to, 0))};
}

PairSlots TileMap::pairs(int64_t tile) const {
    int32_t* memory = const_cast<int32_t*>(memory_.data()) + tile * PairSlots::size(kernel_.volume(), height_);
    return PairSlots(memory, kernel_.volume(), height_);
}

void convolve(const Layer& layer, Source x, const TileMap& map, int64_t tile, Target y) {
    const int64_t first = map.first(tile);
    convolve(layer, x, map.pairs(tile), y.at(first, 0), first, map.count(tile));
}

void convolve(Pool& pool, const Layer& layer, Source x, const TileMap& map, Target y) {
    for_each_task(pool, map.tiles(), [&](int64_t tile) { convolve(layer, x, map, tile, y); });
}

}  // namespace mink_pd::engine
