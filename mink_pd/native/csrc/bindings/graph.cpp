#include "../core/graph.h"

#include <ATen/ops/empty.h>

#include "../core/blocks.h"
#include "check.h"
#include "memory.h"
#include "operators.h"
#include "pool.h"

namespace mink_pd::bindings {
namespace {

Adjacency adjacency_of(const Tensor& start, const Tensor& others) {
    check(start, at::kInt, 1, "start");
    check(others, at::kInt, 1, "edges");
    TORCH_CHECK(start.numel() >= 1, "start must have one value or more");
    check_rows(others.numel(), "the number of edges");
    return {start.const_data_ptr<int32_t>(), others.const_data_ptr<int32_t>(), start.numel() - 1, others.numel()};
}

// Rows (rows, channels) of a network, whose values are to be read.
const float* rows_of(const Tensor& tensor, int64_t rows, int64_t channels, const char* name) {
    check(tensor, at::kFloat, 2, name);
    TORCH_CHECK(tensor.size(0) == rows && tensor.size(1) == channels, name, " must be (", rows, ", ", channels,
                "), not ", tensor.sizes());
    return tensor.const_data_ptr<float>();
}

// The gradients of one network: a, b and sum of b, of no rows where they are not wanted.
struct Gradients {
    Tensor a, b, sum_b;

    Gradients(bool wanted, int64_t rows, int64_t centres, int64_t width)
        : a(at::empty({wanted ? rows : 0, width}, at::kFloat)),
          b(at::empty({wanted ? centres : 0, width}, at::kFloat)),
          sum_b(at::empty({wanted ? rows : 0, width}, at::kFloat)),
          wanted_(wanted) {}
    NetworkGradient pointers() {
        if (!wanted_) return {nullptr, nullptr, nullptr};
        return {a.mutable_data_ptr<float>(), b.mutable_data_ptr<float>(), sum_b.mutable_data_ptr<float>()};
    }

 private:
    bool wanted_;
};

}  // namespace

std::vector<Tensor> transpose_edges(const Tensor& neighbour, const Tensor& degree, int64_t rows) {
    check(neighbour, at::kLong, 1, "neighbour");
    check(degree, at::kLong, 1, "degree");
    Tensor used, start, neighbours, arriving, centres;
    transpose_edges(torch_threads(), neighbour.const_data_ptr<int64_t>(), neighbour.numel(),
                    degree.const_data_ptr<int64_t>(), degree.numel(), rows,
                    {into<int64_t>(used), into<int32_t>(start), into<int32_t>(neighbours), into<int32_t>(arriving),
                     into<int32_t>(centres)});
    return {used, start, neighbours, arriving, centres};
}

std::vector<Tensor> edge_moments(const Tensor& a, const Tensor& b, const Tensor& start, const Tensor& neighbour,
                                 const Tensor& arriving) {
    const Adjacency graph = adjacency_of(start, neighbour);
    check(a, at::kFloat, 2, "a");
    const int64_t channels = a.size(1), width = padded(channels);
    TORCH_CHECK(channels >= 1, "rows must have a channel");
    Adjacency transposed = adjacency_of(arriving, neighbour);
    graph.check(transposed.rows);
    transposed.other = nullptr;  // only its degrees are known
    transposed.check_start();
    const float* from_a = rows_of(a, transposed.rows, channels, "a");
    const float* from_b = rows_of(b, graph.rows, channels, "b");
    Tensor centred_a = at::empty({transposed.rows, width}, a.options());
    Tensor centred_b = at::empty({graph.rows, width}, a.options()),
           gathered = at::empty({graph.rows, width}, a.options());
    Tensor sums = at::empty({3, width}, at::kDouble);
    edge_moments(torch_threads(), from_a, from_b, channels, graph, transposed, centred_a.mutable_data_ptr<float>(),
                 centred_b.mutable_data_ptr<float>(), gathered.mutable_data_ptr<float>(),
                 sums.mutable_data_ptr<double>());
    return {centred_a, centred_b, gathered, sums};
}

std::vector<Tensor> compare_edges(const Tensor& teacher_a, const Tensor& teacher_b, const Tensor& teacher_shift,
                                  const Tensor& student_a, const Tensor& student_b, const Tensor& student_shift,
                                  const Tensor& weight, const Tensor& start, const Tensor& neighbour,
                                  const Tensor& arriving, const Tensor& centre, bool of_teacher, bool of_student) {
    const Adjacency graph = adjacency_of(start, neighbour), transposed = adjacency_of(arriving, centre);
    graph.check(transposed.rows);
    transposed.check(graph.rows);
    TORCH_CHECK(graph.edges == transposed.edges, "the transposed graph has another number of edges");
    for (const auto* shift : {&teacher_shift, &student_shift}) check(*shift, at::kFloat, 1, "shift");
    const int64_t width = teacher_shift.numel();
    TORCH_CHECK(width >= 1 && width == student_shift.numel() && width % LANES == 0,
                "teacher and student must have the same number of channels, a multiple of ", LANES);
    check(weight, at::kFloat, 1, "weight");
    TORCH_CHECK(weight.numel() == graph.rows, "there must be a weight for each centre");
    const auto network = [&](const Tensor& a, const Tensor& b, const Tensor& shift) {
        return Network{rows_of(a, transposed.rows, width, "a"), rows_of(b, graph.rows, width, "b"),
                       shift.const_data_ptr<float>()};
    };
    Gradients to_teacher(of_teacher, transposed.rows, graph.rows, width);
    Gradients to_student(of_student, transposed.rows, graph.rows, width);
    Tensor sums = at::empty({3}, at::kDouble);
    compare_edges(torch_threads(), network(teacher_a, teacher_b, teacher_shift),
                  network(student_a, student_b, student_shift), width, weight.const_data_ptr<float>(), graph,
                  transposed, to_teacher.pointers(), to_student.pointers(), sums.mutable_data_ptr<double>());
    return {sums, to_teacher.a, to_teacher.b, to_teacher.sum_b, to_student.a, to_student.b, to_student.sum_b};
}

Tensor gradient_sums(const Tensor& a, const Tensor& b, const Tensor& of_a, const Tensor& of_b) {
    check(a, at::kFloat, 2, "a");
    check(b, at::kFloat, 2, "b");
    const int64_t width = a.size(1);
    const Rows first{rows_of(a, a.size(0), width, "a"), rows_of(of_a, a.size(0), width, "the gradient of a"),
                     a.size(0)};
    const Rows second{rows_of(b, b.size(0), width, "b"), rows_of(of_b, b.size(0), width, "the gradient of b"),
                      b.size(0)};
    TORCH_CHECK(width >= 1, "rows must have a channel");
    Tensor sums = at::empty({2, width}, at::kDouble);
    gradient_sums(torch_threads(), first, second, width, sums.mutable_data_ptr<double>());
    return sums;
}

}  // namespace mink_pd::bindings
