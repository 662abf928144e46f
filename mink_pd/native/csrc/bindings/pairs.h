// A pair list in tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include "../core/maps.h"

namespace mink_pd::bindings {

PairList pairs_of(const at::Tensor& source, const at::Tensor& target, const at::Tensor& table);

}  // namespace mink_pd::bindings
