#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/flow.h"
#include "expect.h"

namespace tests {

using mink_pd::engine::Flow;
using mink_pd::engine::Range;

namespace {

// The tasks under task `task` of `tasks` in a step of `before` tasks, and one to each side.
Range neighbours_of(int64_t task, int64_t tasks, int64_t before) {
    return {std::max<int64_t>(0, task * before / tasks - 1),
            std::min(before, ((task + 1) * before + tasks - 1) / tasks + 1)};
}

}  // namespace

void test_flow(mink_pd::Pool& pool) {
    const std::vector<int64_t> counts{40, 40, 7, 1, 90, 13};
    Flow flow;
    const auto fill = [&] {
        flow.clear();
        for (const int64_t count : counts) flow.add_step(count);
    };
    const auto needs = [&](int64_t step, int64_t task) { return neighbours_of(task, counts[step], counts[step - 1]); };
    bool in_order = true, once = true;
    for (int repeat = 0; repeat < 200; ++repeat) {
        fill();
        std::vector<std::vector<std::atomic<int>>> done;
        for (const int64_t count : counts) done.emplace_back(count);
        std::atomic<int> missing{0};
        flow.run(pool, needs, [&](int64_t step, int64_t task) {
            if (step > 0) {
                const Range range = needs(step, task);
                for (int64_t one = range.first; one < range.last; ++one) missing += done[step - 1][one] != 1;
            }
            if ((step + task) % 5 == 0) std::this_thread::yield();  // some tasks take longer than others
            ++done[step][task];
        });
        in_order &= missing == 0;
        for (const auto& step : done)
            for (const auto& task : step) once &= task == 1;
    }
    expect(in_order, "a task starts when those that it needs are done");
    expect(once, "every task of every step is done once");

    bool caught = false;
    try {
        fill();
        flow.run(pool, needs, [&](int64_t step, int64_t task) {
            if (step == 1 && task == 3) throw std::runtime_error("step 1");
        });
    } catch (const std::runtime_error& error) {
        caught = std::string(error.what()) == "step 1";
    }
    expect(caught, "an exception of a task ends the flow");
    flow.clear();
    flow.run(pool, needs, [&](int64_t, int64_t) { expect(false, "there is no task"); });
}

}  // namespace tests
