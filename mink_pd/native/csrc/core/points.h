// Point sets: farthest-point sampling, ball query, points of boxes.
#pragma once

#include <cstdint>
#include <span>

#include "pool.h"

namespace mink_pd {

// Finite places of the points of some frames, one frame after the other: `points` of each, or those from start[f] to
// start[f + 1] - 1 of frame f. Rows are counted within their frame.
struct PointSets {
    const float* xyz;
    int64_t frames, points;
    const int64_t* start = nullptr;  // (frames + 1,), ascending from 0

    int64_t first(int64_t f) const { return start != nullptr ? start[f] : f * points; }
    int64_t count(int64_t f) const { return first(f + 1) - first(f); }
    const float* frame(int64_t f) const { return xyz + first(f) * 3; }
};

// Rows (frames, count) of each frame, the first being row 0, each next one the farthest from all before. Among equally
// far points the lowest row is next: row 0 once every place is taken. `found` (frames,), which may be null: how many
// came before that.
void farthest_points(Pool& pool, const PointSets& sets, int64_t count, int64_t* result, int64_t* found = nullptr);

// A radius, how many neighbours within it are wanted, and where they go: (centres of all frames, neighbours).
struct Ball {
    double radius;
    int64_t neighbours;
    int64_t* rows;
};

// For each ball the first rows within it of each centre, padded with the first of them; row 0 where there is none. As
// many frames of centres as of points.
void ball_query(Pool& pool, const PointSets& sets, const PointSets& centres, std::span<const Ball> balls);

// Boxes (count, 7) and the frame of each.
struct FrameBoxes {
    const float* values;
    const int64_t* frame;
    int64_t count;
};

// Rows (boxes, count) of the points inside each box, the first by row, repeated in turn to fill; and how many there
// are, at most count: (boxes,). Rows of an empty box are 0. Faces belong to the box.
void points_of_boxes(Pool& pool, const PointSets& sets, const FrameBoxes& boxes, int64_t count, int64_t* rows,
                     int64_t* filled);

}  // namespace mink_pd
