// What an operator may assume of its arguments.
#pragma once

#include <ATen/core/Tensor.h>

namespace mink_pd {

inline void check(const at::Tensor& tensor, at::ScalarType type, const char* name) {
    TORCH_CHECK(tensor.is_cpu() && tensor.scalar_type() == type && tensor.is_contiguous(), name,
                " must be a contiguous CPU tensor of type ", type);
}

}  // namespace mink_pd
