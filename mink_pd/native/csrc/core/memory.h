// Memory of kernels: results that a caller provides, and scratch space.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>

namespace mink_pd {

// Gives a kernel the memory of a result whose number of elements it has found out.
template <typename T>
using Allocate = std::function<T*(int64_t)>;

// Uninitialised memory, aligned for vectors. A std::vector would write zeros first.
template <typename T>
class Scratch {
 public:
    explicit Scratch(int64_t count) {
        constexpr size_t ALIGNMENT = 64;
        const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        memory_.reset(static_cast<T*>(std::aligned_alloc(ALIGNMENT, bytes == 0 ? ALIGNMENT : bytes)));
        if (memory_ == nullptr) throw std::bad_alloc();
    }
    T* data() { return memory_.get(); }
    const T* data() const { return memory_.get(); }
    T& operator[](int64_t i) { return memory_.get()[i]; }

 private:
    struct Free {
        void operator()(T* memory) const { std::free(memory); }
    };
    std::unique_ptr<T[], Free> memory_;
};

// Whether all values lie in low .. high - 1, for low <= high.
inline bool all_within(const int32_t* values, int64_t count, int64_t low, int64_t high) {
    const uint32_t first = uint32_t(low), size = uint32_t(high - low);
    uint32_t outside = 0;  // not a bool, with which GCC makes slow vectors
    for (int64_t i = 0; i < count; ++i) outside |= uint32_t(uint32_t(values[i]) - first >= size);
    return outside == 0;
}

}  // namespace mink_pd
