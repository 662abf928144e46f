#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "core/tasks.h"
#include "expect.h"

namespace tests {

using mink_pd::for_each_task;
using mink_pd::Team;
using mink_pd::ThreadPool;

// A team that one thread serves from before the first run on, from some later time on, or after the last run.
void test_team() {
    for (const int late : {0, 100, 1000000}) {
        Team team(2);
        std::atomic<int> runs{0}, sum{0};
        std::thread server([&] {
            while (runs < std::min(late, 200)) std::this_thread::yield();
            team.serve();
        });
        for (; runs < 200; ++runs) for_each_task(team, 5, [&](int64_t) { ++sum; });
        team.stop();
        server.join();
        expect(sum == 200 * 5, "a team does all its work, however late it is served");
    }
}

void test_pool() {
    test_team();
    ThreadPool pool(3);
    for (const int64_t tasks : {0, 1, 2, 1000}) {
        std::vector<std::atomic<int>> done(tasks);
        for_each_task(pool, tasks, [&](int64_t task) { ++done[task]; });
        bool once = true;
        for (const auto& count : done) once &= count == 1;
        expect(once, "every task is done once");
        std::vector<std::atomic<int>> split(tasks);
        mink_pd::split_tasks(pool, tasks, [&](int64_t first, int64_t last) {
            for (; first < last; ++first) ++split[first];
        });
        for (const auto& count : split) once &= count == 1;
        expect(once, "stretches cover all tasks");
    }
    std::atomic<int> nested{0};
    for_each_task(pool, 4, [&](int64_t) { for_each_task(pool, 5, [&](int64_t) { ++nested; }); });
    expect(nested == 20, "a task may use the pool");
    for (int repeat = 0; repeat < 3; ++repeat) {
        bool caught = false;
        try {
            for_each_task(pool, 100, [&](int64_t task) {
                if (task == 57) throw std::runtime_error("57");
            });
        } catch (const std::runtime_error& error) {
            caught = std::string(error.what()) == "57";
        }
        expect(caught, "an exception of a task is thrown by the caller");
    }
    std::atomic<int> sum{0};
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller)
        callers.emplace_back([&] {
            for (int i = 0; i < 200; ++i) for_each_task(pool, 7, [&](int64_t) { ++sum; });
        });
    for (auto& caller : callers) caller.join();
    expect(sum == 4 * 200 * 7, "several callers share a pool");
    expect_error([] { ThreadPool(0); }, "no threads");
}

}  // namespace tests
