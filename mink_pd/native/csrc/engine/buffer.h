// Memory that is kept from one cloud to the next and only ever grows.
#pragma once

#include <cstdint>
#include <utility>

#include "core/memory.h"

namespace mink_pd::engine {

template <typename T>
class Buffer {
 public:
    // Room for so many elements. What it held is lost where it grows.
    T* sized(int64_t count) {
        if (count > capacity_) {
            capacity_ = count + count / 4;
            memory_ = Scratch<T>(capacity_);
        }
        return memory_.data();
    }
    // The same, and the first `used` elements stay.
    T* extended(int64_t count, int64_t used) {
        if (count > capacity_) {
            Scratch<T> larger(count + count / 2);
            std::copy_n(memory_.data(), used, larger.data());
            memory_ = std::move(larger);
            capacity_ = count + count / 2;
        }
        return memory_.data();
    }
    T* data() { return memory_.data(); }
    const T* data() const { return memory_.data(); }
    T& operator[](int64_t i) { return memory_.data()[i]; }
    const T& operator[](int64_t i) const { return memory_.data()[i]; }

 private:
    int64_t capacity_ = 0;
    Scratch<T> memory_{0};
};

}  // namespace mink_pd::engine
