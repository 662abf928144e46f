// Tensors as the memory of the core's results.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "../core/memory.h"

namespace mink_pd {

// Makes `result` a new tensor of as many elements as are asked for: (count,), or (count / columns, columns).
template <typename T>
Allocate<T> into(at::Tensor& result, int64_t columns = 0) {
    return [&result, columns](int64_t count) {
        const at::TensorOptions options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
        result = columns == 0 ? at::empty({count}, options) : at::empty({count / columns, columns}, options);
        return result.mutable_data_ptr<T>();
    };
}

}  // namespace mink_pd
