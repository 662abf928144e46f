// Sites of two dimensions as the bits of a grid.
//
// Cells are numbered line by line, y running fastest; between lines, and before the first and after the last one, lie
// cells that stay empty, so that a kernel may reach over the edge. Counting the bits before a cell gives its row: rows
// are in the order of their cells, as the torch path has them.
#pragma once

#include <cstdint>

#include "buffer.h"

namespace mink_pd::engine {

class SiteGrid {
 public:
    // An empty grid of so many cells along x and y.
    void clear(int64_t cells_x, int64_t cells_y);

    int64_t cells_x() const { return cells_x_; }
    int64_t cells_y() const { return cells_y_; }
    int64_t cell(int64_t x, int64_t y) const { return ((x + 1) << shift_) + y; }
    int64_t x_of(int64_t cell) const { return (cell >> shift_) - 1; }
    int64_t y_of(int64_t cell) const { return cell & ((int64_t(1) << shift_) - 1); }

    void set(int64_t cell) { words_[word_of(cell)] |= uint64_t(1) << (cell & 63); }
    // Sets `count` cells in a line, at most 64 minus the cell's place in its word.
    void set_run(int64_t cell, int64_t count) {
        words_[word_of(cell)] |= (~uint64_t(0) >> (64 - count)) << (cell & 63);
    }
    // The number of words, each of 64 cells, and setting all cells that are set in such words.
    int64_t words() const { return word_count_; }
    void set_all(const uint64_t* words) {
        for (int64_t w = 0; w < word_count_; ++w) words_[w + GUARD] |= words[w];
    }
    // Ranks and lists the sites that are set; what follows is valid then.
    void number();

    int64_t rows() const { return rows_; }
    const int32_t* cells() const { return cells_.data(); }  // (rows,), ascending
    bool has(int64_t cell) const { return words_[word_of(cell)] >> (cell & 63) & 1; }
    int32_t rank(int64_t cell) const {
        const uint64_t below = (uint64_t(1) << (cell & 63)) - 1;
        return before_[word_of(cell)] + int32_t(__builtin_popcountll(words_[word_of(cell)] & below));
    }
    // The 64 cells from this one on, which is -1 at least.
    uint64_t window(int64_t cell) const {
        const uint64_t *word = words_.data() + word_of(cell), place = cell & 63;
        return word[0] >> place | word[1] << 1 << (63 - place);
    }

 private:
    // Empty words in front: the kernel of cell (0, 0) begins at cell -1.
    static constexpr int64_t GUARD = 1;

    static int64_t word_of(int64_t cell) { return (cell >> 6) + GUARD; }

    int64_t cells_x_ = 0, cells_y_ = 0, word_count_ = 0, rows_ = 0;
    int shift_ = 6;
    Buffer<uint64_t> words_;
    Buffer<int32_t> before_, cells_;
};

// All cells that lie in the cells of coarser sites, `edge` of them along an axis, a power of two up to 64.
void refine_sites(const SiteGrid& coarse, int64_t edge, SiteGrid& fine);

// The sites floor(c / stride) of finer ones.
void stride_sites(const SiteGrid& fine, int64_t stride, SiteGrid& coarse);

}  // namespace mink_pd::engine
