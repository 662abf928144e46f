#include "pool.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <utility>

#include "error.h"
#include "wait.h"

namespace mink_pd {

struct Team::State {
    int64_t threads;
    std::atomic<bool> busy{false};  // with a caller's work
    // Items that no thread has taken yet. A thread reads `body` only after it has taken one, and run() returns only
    // after all are done, so that the body is still there.
    std::atomic<int64_t> left{0}, undone{0};
    std::atomic<const Body*> body{nullptr};
    std::atomic<uint32_t> started{0}, finished{0};  // counters for wait_until: of runs, and of runs' last items
    std::atomic<bool> stopping{false};
    std::mutex error_mutex;
    std::exception_ptr error;

    explicit State(int64_t threads) : threads(threads) {}

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
};

Team::Team(int64_t threads) : state_(std::make_unique<State>(threads)) {
    require(threads >= 1, "a team needs at least one thread");
}

Team::~Team() = default;

int64_t Team::threads() const { return state_->threads; }

void Team::run(int64_t count, const Body& body) {
    if (count <= 0) return;
    if (count == 1 || state_->threads == 1 || state_->busy.exchange(true)) return body(0, count);
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

void Team::serve() {
    while (true) {
        wait_until(state_->started, [&] { return state_->stopping.load() || state_->left.load() > 0; });
        if (state_->stopping) return;
        state_->take();
    }
}

void Team::stop() {
    state_->stopping = true;
    announce(state_->started);
}

ThreadPool::ThreadPool(int64_t threads) : team_(threads) {
    for (int64_t i = 1; i < threads; ++i) threads_.emplace_back([this] { team_.serve(); });
}

ThreadPool::~ThreadPool() {
    team_.stop();
    for (auto& thread : threads_) thread.join();
}

}  // namespace mink_pd
