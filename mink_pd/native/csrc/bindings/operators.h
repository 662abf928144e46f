// The operators of torch.ops.mink_pd. Each checks its arguments and calls the core, which says what it computes.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>
#include <vector>

namespace mink_pd::bindings {

using at::Tensor;
using Pairs = std::tuple<Tensor, Tensor, Tensor>;  // source (P,), target (P,), table (tiles + 1, K), all int32

// maps.h: coordinates int32 (M, 1 + D), offsets int32 (K, D), step (D,)
Pairs neighbours(const Tensor& fine, const Tensor& coarse, const Tensor& offsets);
Pairs inverse(const Tensor& source, const Tensor& target, const Tensor& table, int64_t rows);
Tensor grow(const Tensor& coordinates, const Tensor& offsets, at::IntArrayRef step);
Tensor strided(const Tensor& coordinates, at::IntArrayRef step);

// convolution.h: x (M, in), weights (K, in, out), transposed (K, out, in), scale and shift (out,), all float32
Tensor products(const Tensor& x, const Tensor& weights, const Tensor& source, const Tensor& target, const Tensor& table,
                int64_t rows, bool transposed, bool mirrored, const std::optional<Tensor>& scale,
                const std::optional<Tensor>& shift, bool relu, bool rounded);
// The same into a part (rows, out) of wider rows.
void write_products(const Tensor& x, const Tensor& weights, const Tensor& source, const Tensor& target,
                    const Tensor& table, bool transposed, bool mirrored, const std::optional<Tensor>& scale,
                    const std::optional<Tensor>& shift, bool relu, bool rounded, const Tensor& into);
Tensor outer_products(const Tensor& x, const Tensor& gradient, const Tensor& source, const Tensor& target,
                      const Tensor& table);

// voxels.h: points float32 (P, 3+), frame int64 (P,), lower and size float32 (3,), shape (3,) -> coordinates int32
// (M, 1 + D), points float32 (Q, 3+), rows int64 (Q,), counts int64 (M,)
std::tuple<Tensor, Tensor, Tensor, Tensor> voxelise(const Tensor& points, const Tensor& frame, int64_t frames,
                                                    const Tensor& lower, const Tensor& size, at::IntArrayRef shape,
                                                    int64_t dimensions);

// pillars.h: x float32 (P, F), weight float32 (C, F), bias float32 (C,), group int64 (P,), counts int64 (M,) -> values
// float32 (M, C), winners int32 (M, C)
std::tuple<Tensor, Tensor> linear_max(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& group,
                                      const Tensor& counts);
// -> gradients of weight (C, F) and bias (C,)
std::tuple<Tensor, Tensor> linear_max_backward(const Tensor& gradient, const Tensor& x, const Tensor& winners);

// description.h: points float32 (P, K), pillar int64 (P,), counts int64 (M,), centres float32 (M, 0 to 3) -> float32
// (P, F)
Tensor describe_points(const Tensor& points, const Tensor& pillar, const Tensor& counts, const Tensor& centres);
// x float32 (P, F) -> mean float64 (F,), covariance float64 (F, F)
std::tuple<Tensor, Tensor> covariance(const Tensor& x);

// points.h: xyz float32 (F, N, 3), centres float32 (F, M, 3), boxes float32 (R, 7), frame int64 (R,) -> rows int64
Tensor farthest_points(const Tensor& xyz, int64_t count);
std::vector<Tensor> ball_query(const Tensor& xyz, const Tensor& centres, at::ArrayRef<double> radii,
                               at::IntArrayRef neighbours);
std::tuple<Tensor, Tensor> points_of_boxes(const Tensor& xyz, const Tensor& boxes, const Tensor& frame, int64_t count);
// Frames of unequal size: xyz (S, 3), start int64 (F + 1,) -> rows (F, count), found (F,); rows (centres, neighbours)
std::tuple<Tensor, Tensor> farthest_points_ragged(const Tensor& xyz, const Tensor& start, int64_t count);
std::vector<Tensor> ball_query_ragged(const Tensor& xyz, const Tensor& start, const Tensor& centres,
                                      const Tensor& centre_start, at::ArrayRef<double> radii,
                                      at::IntArrayRef neighbours);

// mlp.h: weights (out, in) and shifts (out,) of the layers, all with a ReLU but for the last one without `relu`.
// x float32 (n, in); sum at a layer: table float32 (T, out), sources int64 (n, K), shares float32 (n, K), all or none,
// shares may be left out -> (n, out)
Tensor mlp_rows(const Tensor& x, at::TensorList weights, at::TensorList shifts, bool relu,
                const std::optional<Tensor>& table, const std::optional<Tensor>& sources,
                const std::optional<Tensor>& shares, int64_t layer);
// features float32 (S, C), xyz float32 (S, 3), centres float32 (G, 3), rows int64 (G, K), the first weight (C, 3) ->
// (G, out)
Tensor mlp_groups(const Tensor& features, const Tensor& xyz, const Tensor& centres, const Tensor& rows,
                  at::TensorList weights, at::TensorList shifts);

// anchors.h: anchors float32 (S, A, 7), frame int64 (S,), boxes float32 (B, 7), labels and box_frame int64 (B,),
// matched and unmatched float32 (A,) -> rows int64 (S, A)
Tensor match_anchors(const Tensor& anchors, const Tensor& frame, const Tensor& boxes, const Tensor& labels,
                     const Tensor& box_frame, const Tensor& matched, const Tensor& unmatched, bool any_class);
// logits float32 (S, A, classes), labels int64 (S, A), share float32 (S,) -> sum (), gradient (S, A, classes)
std::tuple<Tensor, Tensor> focal_loss(const Tensor& logits, const Tensor& labels, const Tensor& share, double alpha,
                                      double gamma);

// norm.h: x (M, C), weight, bias, running_mean and running_var (C,), all float32; the running statistics move, the
// result goes into `into` (M, C) -> mean, inverse, scale and shift (4, C)
Tensor norm_relu(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                 const Tensor& running_var, double momentum, double eps, bool relu, const Tensor& into);
// gradient (M, C) -> gradients of x (M, C), weight and bias (C,)
std::tuple<Tensor, Tensor, Tensor> norm_relu_backward(const Tensor& gradient, const Tensor& x, const Tensor& statistics,
                                                      bool relu);

// knn.h: queries float32 (Q, D), points float32 (R, D) -> rows int64 (Q, k)
Tensor nearest(const Tensor& queries, const Tensor& points, int64_t k);

// graph.h: neighbour int64 (E,), degree int64 (n,) -> rows int64 (U,), start int32 (n + 1,), neighbours int32 (E,),
// arriving int32 (U + 1,), centres int32 (E,)
std::vector<Tensor> transpose_edges(const Tensor& neighbour, const Tensor& degree, int64_t rows);
// a (U, C), b (n, C) -> a and b centred (U, width), (n, width), gathered (n, width), sums float64 (3, width)
std::vector<Tensor> edge_moments(const Tensor& a, const Tensor& b, const Tensor& start, const Tensor& neighbour,
                                 const Tensor& arriving);
// a (U, width), b (n, width), shift (width,), weight (n,) -> sums float64 (3,), then the gradients of teacher and
// student: of a (U, width), of b (n, width), sum of b (U, width); of no rows where they are not wanted
std::vector<Tensor> compare_edges(const Tensor& teacher_a, const Tensor& teacher_b, const Tensor& teacher_shift,
                                  const Tensor& student_a, const Tensor& student_b, const Tensor& student_shift,
                                  const Tensor& weight, const Tensor& start, const Tensor& neighbour,
                                  const Tensor& arriving, const Tensor& centre, bool of_teacher, bool of_student);
// all (rows, width) -> float64 (2, width)
Tensor gradient_sums(const Tensor& a, const Tensor& b, const Tensor& of_a, const Tensor& of_b);

}  // namespace mink_pd::bindings
