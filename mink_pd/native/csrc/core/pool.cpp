#include "pool.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "error.h"
#include "wait.h"

namespace mink_pd {

struct ThreadPool::State {
    std::vector<std::thread> threads;  // besides the caller's
    std::atomic<bool> busy{false};     // with a caller's work
    // Items that no thread has taken yet. A thread reads `body` only after it has taken one, and run() returns only
    // after all are done, so that the body is still there.
    std::atomic<int64_t> left{0}, undone{0};
    std::atomic<const Body*> body{nullptr};
    std::atomic<uint32_t> started{0}, finished{0};  // counters for wait_until: of runs, and of runs' last items
    std::atomic<bool> stopping{false};
    std::mutex error_mutex;
    std::exception_ptr error;

    // Does items until none is left.
    void take() {
        for (int64_t item = left.load(); item > 0;) {
            if (!left.compare_exchange_weak(item, item - 1)) continue;
            try {
                (*body.load())(item - 1, item);
            } catch (...) {
                const std::lock_guard lock(error_mutex);
                if (!error) error = std::current_exception();
            }
            if (undone.fetch_sub(1) == 1) announce(finished);
            item = left.load();
        }
    }

    void serve() {
        while (true) {
            wait_until(started, [&] { return stopping.load() || left.load() > 0; });
            if (stopping) return;
            take();
        }
    }
};

ThreadPool::ThreadPool(int64_t threads) : state_(std::make_unique<State>()) {
    require(threads >= 1, "a thread pool needs at least one thread");
    for (int64_t i = 1; i < threads; ++i) state_->threads.emplace_back([state = state_.get()] { state->serve(); });
}

ThreadPool::~ThreadPool() {
    state_->stopping = true;
    announce(state_->started);
    for (auto& thread : state_->threads) thread.join();
}

int64_t ThreadPool::threads() const { return int64_t(state_->threads.size()) + 1; }

void ThreadPool::run(int64_t count, const Body& body) {
    if (count <= 0) return;
    if (count == 1 || state_->threads.empty() || state_->busy.exchange(true)) return body(0, count);
    struct Release {
        std::atomic<bool>& busy;
        ~Release() { busy = false; }
    } release{state_->busy};
    state_->body = &body, state_->undone = count;
    state_->left = count;
    announce(state_->started);
    state_->take();
    wait_until(state_->finished, [&] { return state_->undone.load() == 0; });
    if (state_->error) std::rethrow_exception(std::exchange(state_->error, nullptr));
}

}  // namespace mink_pd
