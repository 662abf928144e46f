// Point sets: farthest-point sampling, ball query, points of boxes. All on one index, buckets of near points: a box
// around a bucket tells that none of its points matters. Distances are taken in float64, so that the order of
// operations, which differs from torch's, decides nothing.
#include "points.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "error.h"
#include "tasks.h"

namespace mink_pd {
namespace {

constexpr int64_t BUCKET = 64;  // points at most; measured: 32 to 128 differ little
constexpr int64_t CHUNK = 64;   // centres or boxes a task

using Place = std::array<double, 3>;

double squared_distance(const Place& a, const Place& b) {
    const double x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
    return x * x + y * y + z * z;
}

// Points halved along their longest extent until a part holds few; within a bucket they keep the order of their rows.
struct Buckets {
    struct Bucket {
        int64_t first, last;  // of places and rows
        Place low, high;

        double squared_distance_to(const Place& p) const {
            double sum = 0;
            for (int d = 0; d < 3; ++d) {
                const double gap = std::max({low[d] - p[d], p[d] - high[d], 0.0});
                sum += gap * gap;
            }
            return sum;
        }
    };
    std::vector<int64_t> rows;
    std::vector<Place> places;
    std::vector<Bucket> buckets;

    Buckets(const float* xyz, int64_t count) : rows(count), places(count) {
        std::iota(rows.begin(), rows.end(), 0);
        if (count > 0) split(xyz, 0, count);
        for (int64_t i = 0; i < count; ++i) places[i] = place(xyz + 3 * rows[i]);
    }
    static Place place(const float* xyz) { return {xyz[0], xyz[1], xyz[2]}; }

 private:
    void split(const float* xyz, int64_t first, int64_t last) {
        Bucket box{first, last, place(xyz + 3 * rows[first]), place(xyz + 3 * rows[first])};
        for (int64_t i = first; i < last; ++i)
            for (int d = 0; d < 3; ++d) {
                box.low[d] = std::min<double>(box.low[d], xyz[3 * rows[i] + d]);
                box.high[d] = std::max<double>(box.high[d], xyz[3 * rows[i] + d]);
            }
        if (last - first <= BUCKET) {
            std::sort(rows.begin() + first, rows.begin() + last);
            buckets.push_back(box);
            return;
        }
        int axis = 0;
        for (int d = 1; d < 3; ++d)
            if (box.high[d] - box.low[d] > box.high[axis] - box.low[axis]) axis = d;
        const int64_t middle = (first + last) / 2;
        std::nth_element(rows.begin() + first, rows.begin() + middle, rows.begin() + last,
                         [&](int64_t a, int64_t b) { return xyz[3 * a + axis] < xyz[3 * b + axis]; });
        split(xyz, first, middle);
        split(xyz, middle, last);
    }
};

// Without an order among distances, which NaN has not, no index can be built.
void check_finite(const PointSets& sets) {
    bool finite = true;
    for (int64_t i = 0; i < sets.frames * sets.points * 3; ++i) finite &= std::isfinite(sets.xyz[i]);
    require(finite, "xyz must be finite");
}

std::vector<Buckets> index_frames(const PointSets& sets) {
    check_finite(sets);
    std::vector<Buckets> frames;
    for (int64_t f = 0; f < sets.frames; ++f) frames.emplace_back(sets.frame(f), sets.points);
    return frames;
}

// The farthest point of each bucket is kept; a new sample touches only buckets that it is near enough to.
void sample_farthest(const float* xyz, int64_t points, int64_t count, int64_t* result) {
    const Buckets index(xyz, points);
    struct Farthest {
        double distance;
        int64_t row;
    };
    std::vector<double> distance(points, std::numeric_limits<double>::infinity());
    std::vector<Farthest> farthest(index.buckets.size(), {std::numeric_limits<double>::infinity(), 0});
    int64_t row = 0;
    for (int64_t n = 0; n < count; ++n) {
        result[n] = row;
        const Place sample = Buckets::place(xyz + 3 * row);
        Farthest best{-1, 0};
        for (size_t b = 0; b < index.buckets.size(); ++b) {
            const auto& bucket = index.buckets[b];
            if (bucket.squared_distance_to(sample) < farthest[b].distance) {
                double most = -1;
                for (int64_t i = bucket.first; i < bucket.last; ++i) {
                    distance[i] = std::min(distance[i], squared_distance(index.places[i], sample));
                    most = std::max(most, distance[i]);
                }
                int64_t i = bucket.first;
                while (distance[i] != most) ++i;
                farthest[b] = {most, index.rows[i]};
            }
            if (farthest[b].distance > best.distance ||
                (farthest[b].distance == best.distance && farthest[b].row < best.row))
                best = farthest[b];
        }
        row = best.row;
    }
}

// Writes the `count` smallest of found in ascending order; returns how many there are.
int64_t smallest(std::vector<int64_t>& found, int64_t count, int64_t* result) {
    const int64_t kept = std::min<int64_t>(count, found.size());
    std::partial_sort(found.begin(), found.begin() + kept, found.end());
    std::copy_n(found.begin(), kept, result);
    return kept;
}

}  // namespace

void farthest_points(Pool& pool, const PointSets& sets, int64_t count, int64_t* result) {
    require(count >= 0 && count <= sets.points, "there are fewer points than samples");
    check_finite(sets);
    if (count == 0) return;
    for_each_task(pool, sets.frames,
                  [&](int64_t f) { sample_farthest(sets.frame(f), sets.points, count, result + f * count); });
}

void ball_query(Pool& pool, const PointSets& sets, const float* centres, int64_t count, std::span<const Ball> balls) {
    require(!balls.empty(), "a ball query needs a radius");
    double reach = 0;
    for (const Ball& ball : balls) {
        require(ball.radius > 0 && std::isfinite(ball.radius), "a radius must be positive and finite");
        require(ball.neighbours >= 1, "a ball must have room for one neighbour or more");
        reach = std::max(reach, ball.radius);
    }
    require(sets.points > 0 || sets.frames * count == 0, "xyz has no points");
    const int64_t frames = sets.frames, chunks = (count + CHUNK - 1) / CHUNK;
    const std::vector<Buckets> index = index_frames(sets);
    share_tasks(pool, frames * chunks, [&](auto& take) {
        std::vector<std::vector<int64_t>> found(balls.size());
        for (int64_t task; (task = take()) >= 0;) {
            const int64_t frame = task / chunks, first = task % chunks * CHUNK;
            const Buckets& here = index[frame];
            for (int64_t m = first; m < std::min(count, first + CHUNK); ++m) {
                const Place centre = Buckets::place(centres + (frame * count + m) * 3);
                for (auto& rows : found) rows.clear();
                for (const auto& bucket : here.buckets) {
                    if (bucket.squared_distance_to(centre) >= reach * reach) continue;
                    for (int64_t i = bucket.first; i < bucket.last; ++i) {
                        const double distance = squared_distance(here.places[i], centre);
                        for (size_t r = 0; r < balls.size(); ++r)
                            if (distance < balls[r].radius * balls[r].radius) found[r].push_back(here.rows[i]);
                    }
                }
                for (size_t r = 0; r < balls.size(); ++r) {
                    const int64_t k = balls[r].neighbours;
                    int64_t* out = balls[r].rows + (frame * count + m) * k;
                    const int64_t kept = smallest(found[r], k, out);
                    std::fill(out + kept, out + k, kept > 0 ? out[0] : 0);
                }
            }
        }
    });
}

void points_of_boxes(Pool& pool, const PointSets& sets, const FrameBoxes& boxes, int64_t count, int64_t* rows,
                     int64_t* filled) {
    require(count >= 0, "the number of points of a box must not be negative");
    for (int64_t r = 0; r < boxes.count; ++r)
        require(boxes.frame[r] >= 0 && boxes.frame[r] < sets.frames, "a box's frame is not one of the points'");
    const std::vector<Buckets> index = index_frames(sets);
    share_tasks(pool, boxes.count, [&](auto& take) {
        std::vector<int64_t> found;
        for (int64_t r; (r = take()) >= 0;) {
            const float* box = boxes.values + 7 * r;
            const Buckets& here = index[boxes.frame[r]];
            const Place centre = Buckets::place(box);
            const double along = box[3] / 2.0, across = box[4] / 2.0, up = box[5] / 2.0;
            const double cos = std::cos(double(box[6])), sin = std::sin(double(box[6]));
            const double reach = along * along + across * across + up * up;
            found.clear();
            for (const auto& bucket : here.buckets) {
                if (bucket.squared_distance_to(centre) > reach * (1 + 1e-9)) continue;
                for (int64_t i = bucket.first; i < bucket.last; ++i) {
                    const Place& p = here.places[i];
                    const double x = p[0] - centre[0], y = p[1] - centre[1];
                    if (std::abs(p[2] - centre[2]) <= up && std::abs(x * cos + y * sin) <= along &&
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
