// Tasks of several steps on the threads of a pool, without a barrier between the steps.
//
// Threads take the tasks in the order of the steps. A task waits for those tasks of the step before that it needs. As
// these were taken long before, it rarely has to wait, and no thread is idle at the end of a step.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "core/tasks.h"
#include "core/wait.h"

namespace mink_pd::engine {

// first .. last - 1, rows or tasks.
struct Range {
    int64_t first, last;
};

class Flow {
 public:
    void clear() { first_.assign(1, 0); }
    void add_step(int64_t tasks) { first_.push_back(first_.back() + tasks); }
    int64_t steps() const { return int64_t(first_.size()) - 1; }

    // Calls work(step, task) for all. needs(step, task): the Range of tasks of the step before that must be done by
    // then; it is not asked for step 0.
    template <typename Needs, typename Work>
    void run(Pool& pool, Needs&& needs, Work&& work);

 private:
    std::vector<int64_t> first_;  // task of each step, counted over all steps; and behind the last one
    Buffer<uint32_t> done_;       // 1 for a task that is done
};

template <typename Needs, typename Work>
void Flow::run(Pool& pool, Needs&& needs, Work&& work) {
    uint32_t* done = done_.sized(first_.back());
    std::fill(done, done + first_.back(), 0);
    std::atomic<uint32_t> changes{0};
    std::atomic<bool> failed{false};  // then what others wait for may never be done
    const auto perform = [&](int64_t step, int64_t task) {
        if (step > 0) {
            const Range range = needs(step, task);
            int64_t next = first_[step - 1] + range.first;
            const int64_t last = first_[step - 1] + range.last;
            wait_until(changes, [&] {
                while (next < last && std::atomic_ref(done[next]).load() == 1) ++next;
                return next >= last || failed.load();
            });
        }
        if (!failed.load()) work(step, task);
        std::atomic_ref(done[first_[step] + task]).store(1);
        announce(changes);
    };
    share_tasks(pool, first_.back(), [&](auto& take) {
        int64_t step = 0;
        for (int64_t task; (task = take()) >= 0;) {
            while (task >= first_[step + 1]) ++step;
            try {
                perform(step, task - first_[step]);
            } catch (...) {
                failed = true;
                announce(changes);
                throw;
            }
        }
    });
}

}  // namespace mink_pd::engine
