// What the bindings make sure of before they pass pointers on. Values (indices, counts) are checked by the core.
#pragma once

#include <ATen/core/Tensor.h>

#include <limits>

namespace mink_pd {

inline void check(const at::Tensor& tensor, at::ScalarType type, int64_t dimensions, const char* name) {
    TORCH_CHECK(tensor.is_cpu() && tensor.layout() == at::kStrided && tensor.scalar_type() == type, name,
                " must be a CPU tensor of type ", type);
    TORCH_CHECK(tensor.dim() == dimensions, name, " must have ", dimensions, " dimensions, not ", tensor.dim());
    TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
}

// Rows whose channels follow each other; a row may be a part of a wider one.
inline void check_matrix(const at::Tensor& tensor, int64_t rows, int64_t channels, const char* name) {
    TORCH_CHECK(tensor.is_cpu() && tensor.layout() == at::kStrided && tensor.scalar_type() == at::kFloat, name,
                " must be a CPU tensor of type Float");
    TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == channels, name, " must be (", rows,
                ", ", channels, ")");
    TORCH_CHECK(tensor.stride(1) == 1 && tensor.stride(0) >= channels, name, " must hold each row in one piece");
}

// Rows are numbered in 32 bits.
inline void check_rows(int64_t rows, const char* name) {
    TORCH_CHECK(rows >= 0 && rows < std::numeric_limits<int32_t>::max(), name, " must be 0 to 2^31 - 2");
}

// Rows for which memory is made whatever the other arguments are.
constexpr int64_t MOST_NEW_ROWS = int64_t(1) << 26;
inline void check_new_rows(int64_t rows, const char* name) {
    TORCH_CHECK(rows >= 0 && rows <= MOST_NEW_ROWS, name, " must be 0 to 2^26, not ", rows);
}

}  // namespace mink_pd
