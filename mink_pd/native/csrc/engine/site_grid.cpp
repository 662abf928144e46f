#include "site_grid.h"

#include <algorithm>
#include <type_traits>

namespace mink_pd::engine {

void SiteGrid::clear(int64_t cells_x, int64_t cells_y) {
    cells_x_ = cells_x, cells_y_ = cells_y;
    shift_ = 6;
    while (cells_y + 1 > int64_t(1) << shift_) ++shift_;  // an empty cell at the end of each line at least
    word_count_ = ((cells_x + 2) << shift_ >> 6) + 1;     // and a word for windows that reach over the end
    std::fill_n(words_.sized(word_count_ + GUARD), word_count_ + GUARD, 0);
}

void SiteGrid::number() {
    const uint64_t* words = words_.data();
    int32_t* before = before_.sized(word_count_ + GUARD);
    int64_t sum = 0;
    for (int64_t w = 0; w < word_count_ + GUARD; ++w) {
        before[w] = int32_t(sum);
        sum += __builtin_popcountll(words[w]);
    }
    rows_ = sum;
    int32_t* cell = cells_.sized(sum);
    for (int64_t w = 0; w < word_count_; ++w)
        for (uint64_t word = words[w + GUARD]; word != 0; word &= word - 1)
            *cell++ = int32_t(w * 64 + __builtin_ctzll(word));
}

void refine_sites(const SiteGrid& coarse, int64_t edge, SiteGrid& fine) {
    fine.clear(coarse.cells_x() * edge, coarse.cells_y() * edge);
    for (int64_t row = 0; row < coarse.rows(); ++row) {
        const int64_t cell = coarse.cells()[row], x = coarse.x_of(cell) * edge, y = coarse.y_of(cell) * edge;
        for (int64_t i = 0; i < edge; ++i) fine.set_run(fine.cell(x + i, y), edge);
    }
    fine.number();
}

void stride_sites(const SiteGrid& fine, int64_t stride, SiteGrid& coarse) {
    coarse.clear((fine.cells_x() + stride - 1) / stride, (fine.cells_y() + stride - 1) / stride);
    const int32_t* cells = fine.cells();
    const auto mark = [&](auto by) {
        for (int64_t row = 0; row < fine.rows(); ++row)
            coarse.set(coarse.cell(fine.x_of(cells[row]) / by, fine.y_of(cells[row]) / by));
    };
    if (stride == 2)  // known to the compiler, a division costs nothing
        mark(std::integral_constant<int64_t, 2>());
    else
        mark(stride);
    coarse.number();
}

}  // namespace mink_pd::engine
