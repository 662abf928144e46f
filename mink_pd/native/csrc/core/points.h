// Point sets: farthest-point sampling, ball query, points of boxes.
#pragma once

#include <cstdint>
#include <span>

#include "pool.h"

namespace mink_pd {

// (frames, points, 3), finite.
struct PointSets {
    const float* xyz;
    int64_t frames, points;

    const float* frame(int64_t f) const { return xyz + f * points * 3; }
};

// Rows (frames, count) of each frame, the first being row 0, each next one the farthest from all before. Among equally
// far points the lowest row is next.
void farthest_points(Pool& pool, const PointSets& sets, int64_t count, int64_t* result);

// A radius, how many neighbours within it are wanted, and where they go: (frames, centres, neighbours).
struct Ball {
    double radius;
    int64_t neighbours;
    int64_t* rows;
};

// For each ball the first rows within it of each centre (frames, count, 3), padded with the first of them; row 0 where
// there is none.
void ball_query(Pool& pool, const PointSets& sets, const float* centres, int64_t count, std::span<const Ball> balls);

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
