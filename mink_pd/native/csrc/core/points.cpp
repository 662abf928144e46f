// Point sets: farthest-point sampling, ball query, points of boxes. All on one index, buckets of near points: a box
// around a bucket tells that none of its points matters. Distances are taken in float64, so that the order of
// operations, which differs from torch's, decides nothing.
#include "points.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "blocks.h"
#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t BUCKET = 64;  // points at most; measured: 32 to 128 differ little
constexpr int64_t CHUNK = 64;   // centres a task
constexpr double INFINITE = std::numeric_limits<double>::infinity();

typedef double Doubles __attribute__((vector_size(LANES * sizeof(float))));
constexpr int64_t DOUBLES = sizeof(Doubles) / sizeof(double);

Doubles load_doubles(const double* from) {
    Doubles v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
Doubles larger(Doubles a, Doubles b) { return a > b ? a : b; }
double largest(Doubles v) {
    double result = v[0];
    for (int64_t n = 1; n < DOUBLES; ++n) result = std::max(result, v[n]);
    return result;
}

using Place = std::array<double, 3>;
using Axes = std::array<std::vector<double>, 3>;  // a coordinate each

Place place_of(const float* xyz) { return {xyz[0], xyz[1], xyz[2]}; }

// Points halved along their longest extent until a part holds few; within a bucket they keep the order of their rows.
class Buckets {
 public:
    // Places of a bucket; up to the next multiple of DOUBLES its last one is repeated.
    struct Range {
        int64_t first, last;
    };
    std::vector<Range> ranges;
    std::vector<int64_t> rows;
    Axes places;

    Buckets() = default;
    Buckets(const float* xyz, int64_t count) {
        std::vector<int64_t> order(count);
        std::iota(order.begin(), order.end(), 0);
        if (count > 0) split(xyz, order.data(), count);
    }

    int64_t size() const { return int64_t(ranges.size()); }

    // Squared distances of a place from the boxes around all buckets.
    void distances(const Place& p, double* to) const {
        const int64_t count = size();
        const double *x = low_[0].data(), *y = low_[1].data(), *z = low_[2].data();
        const double *to_x = high_[0].data(), *to_y = high_[1].data(), *to_z = high_[2].data();
        for (int64_t b = 0; b < count; ++b) {
            const double gap_x = outside(x[b], to_x[b], p[0]), gap_y = outside(y[b], to_y[b], p[1]);
            const double gap_z = outside(z[b], to_z[b], p[2]);
            to[b] = gap_x * gap_x + gap_y * gap_y + gap_z * gap_z;
        }
    }
    double distance(int64_t i, const Place& p) const {
        const double x = places[0][i] - p[0], y = places[1][i] - p[1], z = places[2][i] - p[2];
        return x * x + y * y + z * z;
    }

 private:
    static double outside(double low, double high, double x) {
        const double below = low - x, above = x - high, gap = below > above ? below : above;
        return gap > 0 ? gap : 0;
    }

    void split(const float* xyz, int64_t* order, int64_t count) {
        Place low = place_of(xyz + 3 * order[0]), high = low;
        for (int64_t i = 1; i < count; ++i)
            for (int d = 0; d < 3; ++d) {
                low[d] = std::min<double>(low[d], xyz[3 * order[i] + d]);
                high[d] = std::max<double>(high[d], xyz[3 * order[i] + d]);
            }
        if (count <= BUCKET) {
            std::sort(order, order + count);
            return add(xyz, order, count, low, high);
        }
        int axis = 0;
        for (int d = 1; d < 3; ++d)
            if (high[d] - low[d] > high[axis] - low[axis]) axis = d;
        const int64_t half = count / 2;
        std::nth_element(order, order + half, order + count,
                         [&](int64_t a, int64_t b) { return xyz[3 * a + axis] < xyz[3 * b + axis]; });
        split(xyz, order, half);
        split(xyz, order + half, count - half);
    }

    void add(const float* xyz, const int64_t* order, int64_t count, const Place& low, const Place& high) {
        ranges.push_back({int64_t(rows.size()), int64_t(rows.size()) + count});
        for (int64_t i = 0; i < (count + DOUBLES - 1) / DOUBLES * DOUBLES; ++i) {
            rows.push_back(order[std::min(i, count - 1)]);
            for (int d = 0; d < 3; ++d) places[d].push_back(xyz[3 * rows.back() + d]);
        }
        for (int d = 0; d < 3; ++d) low_[d].push_back(low[d]), high_[d].push_back(high[d]);
    }

    Axes low_, high_;  // of the box around each bucket
};

// Without an order among distances, which NaN has not, no index can be built.
void check_finite(const PointSets& sets) {
    bool finite = true;
    for (int64_t i = 0; i < 3 * sets.first(sets.frames); ++i) finite &= std::isfinite(sets.xyz[i]);
    require(finite, "xyz must be finite");
}

std::vector<Buckets> index_frames(Pool& pool, const PointSets& sets) {
    check_finite(sets);
    std::vector<Buckets> frames(sets.frames);
    for_each_task(pool, sets.frames, [&](int64_t f) { frames[f] = Buckets(sets.frame(f), sets.count(f)); });
    return frames;
}

// The distance of each point from the samples so far, and the farthest of each bucket: a new sample touches only
// buckets that it is near enough to.
class Sampler {
 public:
    Sampler(const float* xyz, int64_t points)
        : index_(xyz, points),
          distance_(index_.rows.size(), INFINITE),
          farthest_((index_.size() + DOUBLES - 1) / DOUBLES * DOUBLES, 0),
          gaps_(index_.size()) {
        std::fill_n(farthest_.begin(), index_.size(), INFINITE);
    }

    void take(const Place& sample) {
        index_.distances(sample, gaps_.data());
        for (int64_t b = 0; b < index_.size(); ++b)
            if (gaps_[b] < farthest_[b]) farthest_[b] = update(index_.ranges[b], sample);
    }

    double farthest() const {
        Doubles most{};
        for (size_t b = 0; b < farthest_.size(); b += DOUBLES) most = larger(load_doubles(&farthest_[b]), most);
        return largest(most);
    }

    // The lowest row that is this far.
    int64_t row_at(double distance) const {
        int64_t row = std::numeric_limits<int64_t>::max();
        for (int64_t b = 0; b < index_.size(); ++b) {
            if (farthest_[b] != distance) continue;
            int64_t i = index_.ranges[b].first;
            while (distance_[i] != distance) ++i;
            row = std::min(row, index_.rows[i]);
        }
        return row;
    }

 private:
    // The largest distance of a bucket's points after another sample.
    double update(const Buckets::Range& range, const Place& sample) {
        const auto& [xs, ys, zs] = index_.places;
        Doubles most{};
        for (int64_t i = range.first; i < range.last; i += DOUBLES) {
            const Doubles x = load_doubles(&xs[i]) - sample[0], y = load_doubles(&ys[i]) - sample[1];
            const Doubles z = load_doubles(&zs[i]) - sample[2], now = x * x + y * y + z * z;
            const Doubles before = load_doubles(&distance_[i]), least = now < before ? now : before;
            std::memcpy(&distance_[i], &least, sizeof least);
            most = larger(least, most);
        }
        return largest(most);
    }

    Buckets index_;
    std::vector<double> distance_, farthest_, gaps_;
};

// Returns how many samples there are before every place is taken.
int64_t sample_farthest(const float* xyz, int64_t points, int64_t count, int64_t* result) {
    std::fill_n(result, count, 0);
    if (points == 0) return 0;
    Sampler sampler(xyz, points);
    for (int64_t n = 1; n < count; ++n) {
        sampler.take(place_of(xyz + 3 * result[n - 1]));
        const double farthest = sampler.farthest();
        if (farthest == 0) return n;
        result[n] = sampler.row_at(farthest);
    }
    return count;
}

// Writes the `count` smallest of found in ascending order; returns how many there are.
int64_t smallest(std::vector<int64_t>& found, int64_t count, int64_t* result) {
    const int64_t kept = std::min<int64_t>(count, found.size());
    std::partial_sort(found.begin(), found.begin() + kept, found.end());
    std::copy_n(found.begin(), kept, result);
    return kept;
}

// One thread's rows within each ball of a centre.
class BallSearch {
 public:
    explicit BallSearch(std::span<const Ball> balls) : balls_(balls), found_(balls.size()) {
        for (const Ball& ball : balls) reach_ = std::max(reach_, ball.radius * ball.radius);
    }

    // Writes row `at` of each ball's rows.
    void run(const Buckets& index, const Place& centre, int64_t at) {
        gaps_.resize(index.size());
        index.distances(centre, gaps_.data());
        for (auto& rows : found_) rows.clear();
        for (int64_t b = 0; b < index.size(); ++b) {
            if (gaps_[b] >= reach_) continue;
            for (int64_t i = index.ranges[b].first; i < index.ranges[b].last; ++i) {
                const double distance = index.distance(i, centre);
                for (size_t r = 0; r < balls_.size(); ++r)
                    if (distance < balls_[r].radius * balls_[r].radius) found_[r].push_back(index.rows[i]);
            }
        }
        for (size_t r = 0; r < balls_.size(); ++r) {
            const int64_t k = balls_[r].neighbours;
            int64_t* out = balls_[r].rows + at * k;
            const int64_t kept = smallest(found_[r], k, out);
            std::fill(out + kept, out + k, kept > 0 ? out[0] : 0);
        }
    }

 private:
    std::span<const Ball> balls_;
    std::vector<std::vector<int64_t>> found_;
    std::vector<double> gaps_;
    double reach_ = 0;  // squared
};

}  // namespace

void farthest_points(Pool& pool, const PointSets& sets, int64_t count, int64_t* result, int64_t* found) {
    require(count >= 0, "the number of samples must not be negative");
    require(sets.start != nullptr || count <= sets.points, "there are fewer points than samples");
    check_finite(sets);
    for_each_task(pool, sets.frames, [&](int64_t f) {
        const int64_t samples = sample_farthest(sets.frame(f), sets.count(f), count, result + f * count);
        if (found != nullptr) found[f] = samples;
    });
}

void ball_query(Pool& pool, const PointSets& sets, const PointSets& centres, std::span<const Ball> balls) {
    require(!balls.empty(), "a ball query needs a radius");
    for (const Ball& ball : balls) {
        require(ball.radius > 0 && std::isfinite(ball.radius), "a radius must be positive and finite");
        require(ball.neighbours >= 1, "a ball must have room for one neighbour or more");
    }
    struct Task {
        int64_t frame, first, last;
    };
    std::vector<Task> tasks;
    for (int64_t f = 0; f < sets.frames; ++f) {
        require(sets.count(f) > 0 || centres.count(f) == 0, "xyz has no points");
        for (int64_t m = 0; m < centres.count(f); m += CHUNK)
            tasks.push_back({f, m, std::min(m + CHUNK, centres.count(f))});
    }
    const std::vector<Buckets> index = index_frames(pool, sets);
    share_tasks(pool, int64_t(tasks.size()), [&](auto& take) {
        BallSearch search(balls);
        for (int64_t task; (task = take()) >= 0;) {
            const auto [frame, first, last] = tasks[task];
            for (int64_t m = first; m < last; ++m)
                search.run(index[frame], place_of(centres.frame(frame) + 3 * m), centres.first(frame) + m);
        }
    });
}

void points_of_boxes(Pool& pool, const PointSets& sets, const FrameBoxes& boxes, int64_t count, int64_t* rows,
                     int64_t* filled) {
    require(count >= 0, "the number of points of a box must not be negative");
    for (int64_t r = 0; r < boxes.count; ++r)
        require(boxes.frame[r] >= 0 && boxes.frame[r] < sets.frames, "a box's frame is not one of the points'");
    const std::vector<Buckets> index = index_frames(pool, sets);
    share_tasks(pool, boxes.count, [&](auto& take) {
        std::vector<int64_t> found;
        std::vector<double> gaps;
        for (int64_t r; (r = take()) >= 0;) {
            const float* box = boxes.values + 7 * r;
            const Buckets& here = index[boxes.frame[r]];
            const Place centre = place_of(box);
            const double along = box[3] / 2.0, across = box[4] / 2.0, up = box[5] / 2.0;
            const double cos = std::cos(double(box[6])), sin = std::sin(double(box[6]));
            const double reach = along * along + across * across + up * up;
            gaps.resize(here.size());
            here.distances(centre, gaps.data());
            found.clear();
            for (int64_t b = 0; b < here.size(); ++b) {
                if (gaps[b] > reach * (1 + 1e-9)) continue;
                for (int64_t i = here.ranges[b].first; i < here.ranges[b].last; ++i) {
                    const double x = here.places[0][i] - centre[0], y = here.places[1][i] - centre[1];
                    if (std::abs(here.places[2][i] - centre[2]) <= up && std::abs(x * cos + y * sin) <= along &&
                        std::abs(y * cos - x * sin) <= across)
                        found.push_back(here.rows[i]);
                }
            }
            int64_t* out = rows + r * count;
            const int64_t kept = smallest(found, count, out);
            filled[r] = kept;
            for (int64_t k = kept; k < count; ++k) out[k] = kept > 0 ? out[k - kept] : 0;
        }
    });
}

}  // namespace mink_pd
