// Memory that is kept from one cloud to the next and only ever grows.
#pragma once

#include <cstdint>
#include <utility>

#include "core/memory.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

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
        return bounded(count);
    }
    T* data() { return memory_.data(); }
    const T* data() const { return memory_.data(); }
    T& operator[](int64_t i) { return memory_.data()[i]; }
    const T& operator[](int64_t i) const { return memory_.data()[i]; }

 private:
    // In a sanitized build what lies behind `count` elements must not be touched, although the memory is there.
    T* bounded([[maybe_unused]] int64_t count) {
        T* memory = memory_.data();
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(memory, size_t(capacity_) * sizeof(T));
        __asan_poison_memory_region(memory + count, size_t(capacity_ - count) * sizeof(T));
#endif
        return memory;
    }

    int64_t capacity_ = 0;
    Scratch<T> memory_{0};
};

}  // namespace mink_pd::engine
