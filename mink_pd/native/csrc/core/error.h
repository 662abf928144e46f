// What the core throws where its input is wrong. The message is one line.
#pragma once

#include <stdexcept>

namespace mink_pd {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* message) {
    if (!condition) throw Error(message);
}

}  // namespace mink_pd
