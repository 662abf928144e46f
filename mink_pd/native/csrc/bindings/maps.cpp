#include "../core/maps.h"

#include <ATen/ops/empty.h>

#include "check.h"
#include "memory.h"
#include "operators.h"
#include "pairs.h"
#include "pool.h"

namespace mink_pd::bindings {
namespace {

Coordinates coordinates_of(const Tensor& tensor, const char* name) {
    check(tensor, at::kInt, 2, name);
    TORCH_CHECK(tensor.size(1) >= 2 && tensor.size(1) <= MOST_COLUMNS, name, " must have 2 to ", MOST_COLUMNS,
                " columns, the frame and D axes");
    check_rows(tensor.size(0), name);
    return {tensor.const_data_ptr<int32_t>(), tensor.size(0), tensor.size(1)};
}

Offsets offsets_of(const Tensor& tensor, const Coordinates& coordinates) {
    check(tensor, at::kInt, 2, "offsets");
    TORCH_CHECK(tensor.size(1) == coordinates.columns - 1, "coordinates must be (M, 1 + D) and offsets (K, D)");
    return {tensor.const_data_ptr<int32_t>(), tensor.size(0), tensor.size(1)};
}

void check_step(at::IntArrayRef step, const Coordinates& coordinates) {
    TORCH_CHECK(int64_t(step.size()) == coordinates.columns - 1, "coordinates must be (M, 1 + D) and step (D,)");
}

}  // namespace

PairList pairs_of(const Tensor& source, const Tensor& target, const Tensor& table) {
    check(source, at::kInt, 1, "source");
    check(target, at::kInt, 1, "target");
    check(table, at::kInt, 2, "table");
    TORCH_CHECK(source.numel() == target.numel(), "source and target must be equally long");
    TORCH_CHECK(table.size(0) >= 1, "table must have one row or more");
    check_rows(source.numel(), "the number of pairs");
    return {source.const_data_ptr<int32_t>(),
            target.const_data_ptr<int32_t>(),
            table.const_data_ptr<int32_t>(),
            source.numel(),
            table.size(0) - 1,
            table.size(1)};
}

Pairs neighbours(const Tensor& fine_, const Tensor& coarse_, const Tensor& offsets_) {
    const Tensor fine = fine_.contiguous(), coarse = coarse_.contiguous(), offsets = offsets_.contiguous();
    const Coordinates from = coordinates_of(fine, "fine"), to = coordinates_of(coarse, "coarse");
    TORCH_CHECK(from.columns == to.columns, "fine and coarse must have the same number of columns");
    const Offsets kernel = offsets_of(offsets, from);
    TORCH_CHECK(kernel.count >= 1, "a kernel map needs an offset");
    Tensor source, target, table;
    const PairMemory memory{into<int32_t>(source), into<int32_t>(target), into<int32_t>(table, kernel.count)};
    with_torch_threads([&](Pool& pool) { neighbours(pool, from, to, kernel, memory); });
    return {source, target, table};
}

Pairs inverse(const Tensor& source, const Tensor& target, const Tensor& table, int64_t rows) {
    const PairList pairs = pairs_of(source, target, table);
    check_new_rows(rows, "rows");
    TORCH_CHECK(pairs.volume >= 1, "table must have one column or more");
    Tensor new_source = target, new_target = source, new_table;
    const PairMemory memory{into<int32_t>(new_source), into<int32_t>(new_target),
                            into<int32_t>(new_table, pairs.volume)};
    with_torch_threads([&](Pool& pool) { inverse(pool, pairs, rows, memory); });
    return {new_source, new_target, new_table};
}

Tensor grow(const Tensor& coordinates_, const Tensor& offsets_, at::IntArrayRef step) {
    const Tensor coordinates = coordinates_.contiguous(), offsets = offsets_.contiguous();
    const Coordinates rows = coordinates_of(coordinates, "coordinates");
    const Offsets kernel = offsets_of(offsets, rows);
    check_step(step, rows);
    Tensor result;
    with_torch_threads(
        [&](Pool& pool) { grow(pool, rows, kernel, {step.data(), step.size()}, into<int32_t>(result, rows.columns)); });
    return result;
}

Tensor strided(const Tensor& coordinates_, at::IntArrayRef step) {
    const Tensor coordinates = coordinates_.contiguous();
    const Coordinates rows = coordinates_of(coordinates, "coordinates");
    check_step(step, rows);
    Tensor result;
    strided(torch_threads(), rows, {step.data(), step.size()}, into<int32_t>(result, rows.columns));
    return result;
}

}  // namespace mink_pd::bindings
