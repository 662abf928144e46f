// Edges of a local graph that are never stored (graph.cpp).
#pragma once

#include <cstdint>

#include "memory.h"
#include "pool.h"

namespace mink_pd {

// Rows of one side and those at the other end of their edges: centres and their neighbours, or the transposed. The
// edges of row r are other[start[r]] .. other[start[r + 1] - 1].
struct Adjacency {
    const int32_t *start, *other;  // (rows + 1,), (edges,)
    int64_t rows, edges;

    int64_t degree(int64_t row) const { return start[row + 1] - start[row]; }
    // Throws unless start ascends over all edges.
    void check_start() const;
    // The same, and unless they lead to `others` rows.
    void check(int64_t others) const;
};

// Where the transposed edges go: the U rows that are a neighbour of any; start (n + 1,) and neighbours (E,) among those
// rows; the same edges sorted by neighbour: arriving (U + 1,), centres (E,).
struct TransposedMemory {
    Allocate<int64_t> rows;
    Allocate<int32_t> start, neighbours, arriving, centres;
};

// Neighbours (edges,), of `rows` rows, listed centre by centre with degree (centres,).
void transpose_edges(Pool& pool, const int64_t* neighbours, int64_t edges, const int64_t* degrees, int64_t centres,
                     int64_t rows, const TransposedMemory& result);

// For a (U, channels) and b (n, channels): both less their means over the edges, padded to (U, width), (n, width); for
// each centre the sum of the first over its neighbours (n, width); (3, width): over all edges sum of a + b, sum of its
// square, count. The adjacencies are checked already.
void edge_moments(Pool& pool, const float* a, const float* b, int64_t channels, const Adjacency& graph,
                  const Adjacency& arriving, float* centred_a, float* centred_b, float* gathered, double* sums);

// One network's rows after the norm's scale, a (U, width) and b (n, width), and the norm's shift (width,).
struct Network {
    const float *a, *b, *shift;
};

// What flows back to one network before its norm: to a (U, width), to b (n, width), and the sum of b over the edges of
// each row of a (U, width). Null pointers where it is not wanted.
struct NetworkGradient {
    float *a, *b, *sum_b;
};

// With edges t, s = max(a[j] + b[i] + shift, 0) of teacher and student: sums (3,) of weight_i (t - s)^2, of t^2 and of
// s^2; and the gradients of the first sum with respect to a and b as summands (not through the norm).
void compare_edges(Pool& pool, const Network& teacher, const Network& student, int64_t width, const float* weights,
                   const Adjacency& graph, const Adjacency& transposed, const NetworkGradient& of_teacher,
                   const NetworkGradient& of_student, double* sums);

// (rows, width) and their gradients.
struct Rows {
    const float *values, *gradients;
    int64_t rows;
};

// (2, width): sum over rows of the gradient of b, which is the sum over edges; and the sum over edges of gradient times
// (a[j] + b[i]), from the sums over each row's edges.
void gradient_sums(Pool& pool, const Rows& a, const Rows& b, int64_t width, double* sums);

}  // namespace mink_pd
