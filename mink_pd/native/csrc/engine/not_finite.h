// The error of a network that computes NaN or infinity.
#pragma once

#include "core/error.h"

namespace mink_pd::engine {

struct NotFinite : Error {
    NotFinite() : Error("the network computes NaN or infinity: weights or points are too large") {}
};

}  // namespace mink_pd::engine
