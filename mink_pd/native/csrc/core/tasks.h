// Tasks of uneven size on the threads of a pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "pool.h"

namespace mink_pd {

// Calls worker(take) once on each thread; take() hands out 0 .. tasks - 1, each once, then -1. A task must write
// where no other does: then it does not matter which thread runs it.
template <typename Worker>
void share_tasks(Pool& pool, int64_t tasks, Worker&& worker) {
    std::atomic<int64_t> next{0};
    auto take = [&]() -> int64_t {
        const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
        return task < tasks ? task : -1;
    };
    pool.run(std::min(tasks, pool.threads()), [&](int64_t first, int64_t last) {
        if (first < last) worker(take);
    });
}

// The same for tasks of about equal size: each thread has a stretch of them, the same one at every call with as many
// tasks, so that it finds in its own cache what it left there and what lies beside it. worker(first, last).
template <typename Worker>
void split_tasks(Pool& pool, int64_t tasks, Worker&& worker) {
    const int64_t threads = std::min(tasks, pool.threads());
    pool.run(threads, [&](int64_t first, int64_t last) {
        if (first < last) worker(tasks * first / threads, tasks * last / threads);
    });
}

template <typename Body>
void for_each_task(Pool& pool, int64_t tasks, Body&& body) {
    share_tasks(pool, tasks, [&](auto& take) {
        for (int64_t task; (task = take()) >= 0;) body(task);
    });
}

}  // namespace mink_pd
