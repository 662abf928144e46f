// Counts what is allocated while a detector gets warm, and after that: two numbers.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "minkpd.h"

static std::atomic<long> allocations{0};

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

// In place of the C library's, for libminkpd too.
void* malloc(size_t size) { return ++allocations, __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return ++allocations, __libc_calloc(count, size); }
void* realloc(void* memory, size_t size) { return ++allocations, __libc_realloc(memory, size); }
void* aligned_alloc(size_t alignment, size_t size) { return ++allocations, __libc_memalign(alignment, size); }
}

int main(int, char** arguments) {
    std::FILE* file = std::fopen(arguments[2], "rb");
    std::vector<float> points(4 << 20);
    points.resize(std::fread(points.data(), 4, points.size(), file));
    std::fclose(file);
    minkpd_detector* detector = nullptr;
    if (minkpd_load(arguments[1], 2, &detector) != MINKPD_OK) return 1;
    std::vector<minkpd_box> boxes(minkpd_most_boxes(detector));
    int64_t found = 0;
    const auto detect = [&](long times) {
        const long before = allocations;
        for (long i = 0; i < times; ++i)  // clouds of several sizes, none larger than the first
            if (minkpd_detect(detector, points.data(), int64_t(points.size() / 4) - 100 * (i % 5), 4, boxes.data(),
                              int64_t(boxes.size()), &found) != MINKPD_OK)
                std::exit(1);
        return allocations - before;
    };
    const long warm = detect(10), later = detect(20);
    std::printf("%ld %ld\n", warm, later);
    minkpd_free(detector);
    return found > 0 ? 0 : 1;
}
