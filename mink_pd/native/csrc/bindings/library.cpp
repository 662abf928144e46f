// Registers the operators of torch.ops.mink_pd: for the CPU only, and without gradients of their own.
#include <torch/library.h>

#include "../core/convolution.h"
#include "operators.h"

namespace {

namespace bindings = mink_pd::bindings;

// Calls use(schema, function) for each operator on tensors.
template <typename Use>
void for_each_operator(Use&& use) {
    use("neighbours(Tensor fine, Tensor coarse, Tensor offsets) -> (Tensor, Tensor, Tensor)", bindings::neighbours);
    use("inverse(Tensor(a) source, Tensor(b) target, Tensor table, int rows) -> (Tensor(b), Tensor(a), Tensor)",
        bindings::inverse);
    use("grow(Tensor coordinates, Tensor offsets, int[] step) -> Tensor", bindings::grow);
    use("strided(Tensor coordinates, int[] step) -> Tensor", bindings::strided);
    use("products(Tensor x, Tensor weights, Tensor source, Tensor target, Tensor table, int rows, bool transposed, "
        "bool mirrored, Tensor? scale, Tensor? shift, bool relu, bool rounded) -> Tensor",
        bindings::products);
    use("write_products(Tensor x, Tensor weights, Tensor source, Tensor target, Tensor table, bool transposed, "
        "bool mirrored, Tensor? scale, Tensor? shift, bool relu, bool rounded, Tensor(a!) into) -> ()",
        bindings::write_products);
    use("outer_products(Tensor x, Tensor gradient, Tensor source, Tensor target, Tensor table) -> Tensor",
        bindings::outer_products);
    use("voxelise(Tensor points, Tensor frame, int frames, Tensor lower, Tensor size, int[] shape, int dimensions) "
        "-> (Tensor, Tensor, Tensor, Tensor)",
        bindings::voxelise);
    use("linear_max(Tensor x, Tensor weight, Tensor bias, Tensor group, Tensor counts) -> (Tensor, Tensor)",
        bindings::linear_max);
    use("linear_max_backward(Tensor gradient, Tensor x, Tensor winners) -> (Tensor, Tensor)",
        bindings::linear_max_backward);
    use("describe_points(Tensor points, Tensor pillar, Tensor counts, Tensor centres) -> Tensor",
        bindings::describe_points);
    use("covariance(Tensor x) -> (Tensor, Tensor)", bindings::covariance);
    use("farthest_points(Tensor xyz, int count) -> Tensor", bindings::farthest_points);
    use("ball_query(Tensor xyz, Tensor centres, float[] radii, int[] neighbours) -> Tensor[]", bindings::ball_query);
    use("farthest_points_ragged(Tensor xyz, Tensor start, int count) -> (Tensor, Tensor)",
        bindings::farthest_points_ragged);
    use("ball_query_ragged(Tensor xyz, Tensor start, Tensor centres, Tensor centre_start, float[] radii, "
        "int[] neighbours) -> Tensor[]",
        bindings::ball_query_ragged);
    use("points_of_boxes(Tensor xyz, Tensor boxes, Tensor frame, int count) -> (Tensor, Tensor)",
        bindings::points_of_boxes);
    use("mlp_rows(Tensor x, Tensor[] weights, Tensor[] shifts, bool relu, Tensor? table, Tensor? sources, "
        "Tensor? shares, int layer) -> Tensor",
        bindings::mlp_rows);
    use("mlp_groups(Tensor features, Tensor xyz, Tensor centres, Tensor rows, Tensor[] weights, Tensor[] shifts) "
        "-> Tensor",
        bindings::mlp_groups);
    use("match_anchors(Tensor anchors, Tensor frame, Tensor boxes, Tensor labels, Tensor box_frame, Tensor matched, "
        "Tensor unmatched, bool any_class) -> Tensor",
        bindings::match_anchors);
    use("focal_loss(Tensor logits, Tensor labels, Tensor share, float alpha, float gamma) -> (Tensor, Tensor)",
        bindings::focal_loss);
    use("norm_relu(Tensor x, Tensor weight, Tensor bias, Tensor(a!) running_mean, Tensor(b!) running_var, "
        "float momentum, float eps, bool relu, Tensor(c!) into) -> Tensor",
        bindings::norm_relu);
    use("norm_relu_backward(Tensor gradient, Tensor x, Tensor statistics, bool relu) -> (Tensor, Tensor, Tensor)",
        bindings::norm_relu_backward);
    use("nearest(Tensor queries, Tensor points, int k) -> Tensor", bindings::nearest);
    use("transpose_edges(Tensor neighbour, Tensor degree, int rows) -> Tensor[]", bindings::transpose_edges);
    use("edge_moments(Tensor a, Tensor b, Tensor start, Tensor neighbour, Tensor arriving) -> Tensor[]",
        bindings::edge_moments);
    use("compare_edges(Tensor teacher_a, Tensor teacher_b, Tensor teacher_shift, Tensor student_a, Tensor student_b, "
        "Tensor student_shift, Tensor weight, Tensor start, Tensor neighbour, Tensor arriving, Tensor centre, "
        "bool of_teacher, bool of_student) -> Tensor[]",
        bindings::compare_edges);
    use("gradient_sums(Tensor a, Tensor b, Tensor of_a, Tensor of_b) -> Tensor", bindings::gradient_sums);
}

std::string name_of(std::string_view schema) { return std::string(schema.substr(0, schema.find('('))); }

}  // namespace

TORCH_LIBRARY(mink_pd, library) {
    for_each_operator([&](const char* schema, auto) { library.def(schema); });
    library.def("multiplies_bf16() -> bool", &mink_pd::multiplies_bf16);
}

TORCH_LIBRARY_IMPL(mink_pd, CPU, library) {
    for_each_operator([&](const char* schema, auto function) { library.impl(name_of(schema).c_str(), function); });
}

// Whoever needs gradients calls the operators in an autograd function.
TORCH_LIBRARY_IMPL(mink_pd, Autograd, library) {
    for_each_operator([&](const char* schema, auto) {
        library.impl(name_of(schema).c_str(), torch::CppFunction::makeFallthrough());
    });
}
