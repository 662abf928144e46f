// The K nearest of some points to each of others, in 2 or 3 dimensions, exactly.
//
// Points lie in the cubic cells of a grid. Queries of one cell share their candidates: the points of a block of cells
// around it. Whatever lies outside the block is farther from a query than the block's nearest face, so the K nearest
// are found once K candidates are nearer than that; until then the block grows. The result is the nearest by (distance
// in float32, row), however the grid was cut.
#include "knn.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t MOST_CELLS = 16;     // per point: what a grid over clustered points may take
constexpr int64_t GROUPS_AT_ONCE = 4;  // cells with queries that one task serves
constexpr int64_t MOST_BINS = 1024;    // of distances, when candidates are sorted

template <int D>
struct Block {
    std::array<int64_t, D> first, last;  // cells, both inclusive
    bool whole;                          // nothing lies outside
};

// Points sorted by the cell of a grid.
template <int D>
class Grid {
 public:
    std::array<std::vector<float>, D> places;  // by cell
    std::vector<uint32_t> rows;                // by cell, ascending within one
    std::vector<int32_t> start;                // (cells + 1,)

    Grid(const float* points, int64_t count, double wanted) : count_(count) {
        high_ = low_;
        for (int64_t i = 0; i < count; ++i)
            for (int d = 0; d < D; ++d) {
                const double x = points[i * D + d];
                low_[d] = i == 0 ? x : std::min(low_[d], x);
                high_[d] = i == 0 ? x : std::max(high_[d], x);
            }
        choose_edge(points, wanted);
        for (auto& axis : places) axis.resize(count);
        rows.resize(count);
        std::vector<int32_t> next(start);
        for (int64_t i = 0; i < count; ++i) {
            const int32_t at = next[cell_of_[i]]++;
            rows[at] = uint32_t(i);
            for (int d = 0; d < D; ++d) places[d][at] = points[i * D + d];
        }
    }

    int64_t cells() const { return int64_t(start.size()) - 1; }
    // The cell that a place lies in, or the nearest one to it.
    int64_t cell(const float* place) const {
        int64_t number = 0;
        for (int d = 0; d < D; ++d) {
            const double at = std::floor((place[d] - low_[d]) / edge_);
            number = number * size_[d] + int64_t(std::clamp(at, 0., double(size_[d] - 1)));
        }
        return number;
    }
    Block<D> block(int64_t cell, int64_t reach) const {
        Block<D> result;
        result.whole = true;
        for (int d = D; d-- > 0; cell /= size_[d]) {
            const int64_t at = cell % size_[d];
            result.first[d] = std::max<int64_t>(0, at - reach);
            result.last[d] = std::min(size_[d] - 1, at + reach);
            result.whole &= result.first[d] == 0 && result.last[d] == size_[d] - 1;
        }
        return result;
    }
    // Calls use(begin, end) for the positions of the block's points.
    template <typename Use>
    void for_each_run(const Block<D>& block, Use&& use) const {
        std::array<int64_t, D> at = block.first;
        while (true) {
            int64_t number = 0;
            for (int d = 0; d < D; ++d) number = number * size_[d] + at[d];
            use(start[number], start[number + block.last[D - 1] - block.first[D - 1] + 1]);
            int d = D - 2;
            for (; d >= 0 && at[d] == block.last[d]; --d) at[d] = block.first[d];
            if (d < 0) return;
            ++at[d];
        }
    }
    // What is nearer to the place than this (squared) lies in the block; rounded down by more than float32 rounds.
    float covered(const Block<D>& block, const float* place) const {
        double nearest = std::numeric_limits<double>::infinity();
        for (int d = 0; d < D; ++d) {
            if (block.first[d] > 0) nearest = std::min(nearest, place[d] - (low_[d] + block.first[d] * edge_));
            if (block.last[d] < size_[d] - 1)
                nearest = std::min(nearest, low_[d] + (block.last[d] + 1) * edge_ - place[d]);
        }
        nearest -= 1e-9 * edge_;
        return nearest > 0 ? float(nearest * nearest * (1 - 1e-5)) : 0.f;
    }

 private:
    // Cells so small that a point shares its cell with about `wanted` others, where the points are.
    void choose_edge(const float* points, double wanted) {
        double volume = 1, longest = 0;
        int axes = 0;
        for (int d = 0; d < D; ++d) {
            longest = std::max(longest, high_[d] - low_[d]);
            if (high_[d] > low_[d]) volume *= high_[d] - low_[d], ++axes;
        }
        edge_ = longest > 0 ? std::min(longest, std::pow(volume * wanted / count_, 1. / axes)) : 1;
        while (!fits(edge_)) edge_ *= 1.5;
        while (crowd(points) > 2 * wanted && longest > 0 && fits(edge_ / 1.5)) edge_ /= 1.5;
    }
    bool fits(double edge) {
        double cells = 1;
        for (int d = 0; d < D; ++d) cells *= std::floor((high_[d] - low_[d]) / edge) + 1;
        return cells <= double(MOST_CELLS * count_ + 64);
    }
    // Sorts the points into cells; returns how many a point's cell holds on average.
    double crowd(const float* points) {
        int64_t cells = 1;
        for (int d = 0; d < D; ++d) cells *= size_[d] = int64_t(std::floor((high_[d] - low_[d]) / edge_)) + 1;
        start.assign(cells + 1, 0);
        cell_of_.resize(count_);
        for (int64_t i = 0; i < count_; ++i) ++start[(cell_of_[i] = int32_t(cell(points + i * D))) + 1];
        double squares = 0;
        for (int64_t c = 0; c < cells; ++c) {
            squares += double(start[c + 1]) * start[c + 1];
            start[c + 1] += start[c];
        }
        return squares / count_;
    }

    int64_t count_;
    std::array<double, D> low_{}, high_;
    std::array<int64_t, D> size_;
    double edge_;
    std::vector<int32_t> cell_of_;
};

// One thread's candidates and the sorting of them.
template <int D>
class Search {
 public:
    Search(const Grid<D>& grid, int64_t k) : grid_(grid), k_(k), bins_(std::clamp<int64_t>(2 * k, 16, MOST_BINS)) {
        begin_.resize(bins_ + 1);
    }

    void collect(const Block<D>& block) {
        count_ = 0;
        grid_.for_each_run(block, [&](int64_t begin, int64_t end) {
            const int64_t some = end - begin;
            if (int64_t(rows_.size()) < count_ + some) resize(2 * (count_ + some));
            for (int d = 0; d < D; ++d) std::copy_n(grid_.places[d].data() + begin, some, places_[d].data() + count_);
            std::copy_n(grid_.rows.data() + begin, some, rows_.data() + count_);
            count_ += some;
        });
    }

    // Writes the rows of the K nearest candidates, nearest first; false if the block may lack one of them.
    bool nearest(const Block<D>& block, const float* place, int64_t* to) {
        float farthest = 0;
        for (int64_t i = 0; i < count_; ++i) {
            float sum = 0;
            for (int d = 0; d < D; ++d) {
                const float offset = places_[d][i] - place[d];
                sum += offset * offset;
            }
            distance_[i] = sum;
        }
        int64_t kept = count_;
        if (block.whole) {
            for (int64_t i = 0; i < count_; ++i) {
                keys_[i] = key(distance_[i], rows_[i]);
                farthest = std::max(farthest, distance_[i]);
            }
        } else {
            farthest = grid_.covered(block, place);
            kept = 0;
            for (int64_t i = 0; i < count_; ++i) {
                keys_[kept] = key(distance_[i], rows_[i]);
                kept += distance_[i] < farthest;
            }
            if (kept < k_) return false;
        }
        select(kept, farthest, to);
        return true;
    }

 private:
    // Distances >= 0 sort as their bits do.
    static uint64_t key(float distance, uint32_t row) {
        return uint64_t(std::bit_cast<uint32_t>(distance)) << 32 | row;
    }

    // Squared distances spread evenly over bins (in a plane of even density exactly so): count, place, sort what is
    // left within each bin.
    void select(int64_t kept, float farthest, int64_t* to) {
        const float scale = farthest > 0 ? float(bins_) / farthest : 0.f;
        const bool usable = std::isfinite(scale) && std::isfinite(farthest);
        const auto bin = [&](uint64_t key) {
            return usable ? std::min(bins_ - 1, int64_t(std::bit_cast<float>(uint32_t(key >> 32)) * scale)) : 0;
        };
        std::fill(begin_.begin(), begin_.end(), 0);
        for (int64_t i = 0; i < kept; ++i) ++begin_[bin_[i] = int32_t(bin(keys_[i]))];
        int64_t bins = 0, sum = 0;
        for (; sum < k_; ++bins) sum += std::exchange(begin_[bins], int32_t(sum));
        for (int64_t i = 0; i < kept; ++i)
            if (bin_[i] < bins) sorted_[begin_[bin_[i]]++] = keys_[i];
        for (int64_t b = 0, first = 0; b < bins; first = begin_[b++])
            if (begin_[b] - first > 1) std::sort(&sorted_[first], &sorted_[0] + begin_[b]);
        for (int64_t i = 0; i < k_; ++i) to[i] = int64_t(uint32_t(sorted_[i]));
    }

    void resize(int64_t most) {
        for (auto& axis : places_) axis.resize(most);
        rows_.resize(most);
        distance_.resize(most);
        keys_.resize(most + 1);
        sorted_.resize(most + 1);
        bin_.resize(most);
    }

    const Grid<D>& grid_;
    int64_t k_, bins_, count_ = 0;
    std::array<std::vector<float>, D> places_;
    std::vector<uint32_t> rows_;
    std::vector<float> distance_;
    std::vector<uint64_t> keys_, sorted_;
    std::vector<int32_t> bin_, begin_;
};

// A block that surely holds K points and will often hold the K nearest.
template <int D>
int64_t first_reach(const Grid<D>& grid, int64_t cell, int64_t wanted) {
    for (int64_t reach = 1;; reach += std::max<int64_t>(1, reach / 4)) {
        const Block<D> block = grid.block(cell, reach);
        int64_t count = 0;
        grid.for_each_run(block, [&](int64_t begin, int64_t end) { count += end - begin; });
        if (count >= wanted || block.whole) return reach;
    }
}

// Queries by cell: numbers of queries, those of cell c from start[c] on; and the cells that have any.
template <int D>
struct Queries {
    std::vector<int32_t> order, start;
    std::vector<int64_t> cells;

    Queries(const Grid<D>& grid, const float* places, int64_t count) : order(count), start(grid.cells() + 1, 0) {
        std::vector<int32_t> cell_of(count);
        for (int64_t q = 0; q < count; ++q) ++start[(cell_of[q] = int32_t(grid.cell(places + q * D))) + 1];
        for (int64_t c = 0; c < grid.cells(); ++c) {
            if (start[c + 1] > 0) cells.push_back(c);
            start[c + 1] += start[c];
        }
        std::vector<int32_t> next(start);
        for (int64_t q = 0; q < count; ++q) order[next[cell_of[q]]++] = int32_t(q);
    }
};

template <int D>
void search(Pool& pool, const float* places, int64_t count, const float* points, int64_t rows, int64_t k, int64_t* to) {
    const Grid<D> grid(points, rows, std::max(2., k / 16.));
    const Queries<D> queries(grid, places, count);
    const int64_t groups = queries.cells.size();
    share_tasks(pool, (groups + GROUPS_AT_ONCE - 1) / GROUPS_AT_ONCE, [&](auto& take) {
        Search<D> search(grid, k);
        std::vector<int32_t> open;
        for (int64_t task; (task = take()) >= 0;)
            for (int64_t g = task * GROUPS_AT_ONCE; g < std::min(groups, (task + 1) * GROUPS_AT_ONCE); ++g) {
                const int64_t cell = queries.cells[g];
                open.assign(&queries.order[0] + queries.start[cell], &queries.order[0] + queries.start[cell + 1]);
                for (int64_t reach = first_reach(grid, cell, k + k / 2); !open.empty();
                     reach += std::max<int64_t>(1, reach / 4)) {
                    const Block<D> block = grid.block(cell, reach);
                    search.collect(block);
                    std::erase_if(
                        open, [&](int32_t q) { return search.nearest(block, places + int64_t(q) * D, to + q * k); });
                }
            }
    });
}

void check_finite(const float* values, int64_t count) {
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) finite &= std::isfinite(values[i]);
    require(finite, "places must be finite");
}

}  // namespace

void nearest(Pool& pool, const float* queries, int64_t count, const float* points, int64_t rows, int64_t dimension,
             int64_t k, int64_t* result) {
    constexpr int64_t MOST = std::numeric_limits<int32_t>::max() / (2 * MOST_CELLS);
    require(dimension == 2 || dimension == 3, "places must have 2 or 3 dimensions");
    require(k >= 0 && k <= rows, "there are fewer points than neighbours");
    require(rows <= MOST && count <= MOST, "too many points for one search");
    check_finite(queries, count * dimension);
    check_finite(points, rows * dimension);
    if (count == 0 || k == 0) return;
    const auto run = dimension == 2 ? &search<2> : &search<3>;
    run(pool, queries, count, points, rows, k, result);
}

}  // namespace mink_pd
