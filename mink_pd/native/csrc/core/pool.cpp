#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "error.h"

namespace mink_pd {

struct ThreadPool::State {
    std::vector<std::thread> threads;  // besides the caller's
    std::atomic<bool> busy{false};     // with a caller's work
    std::mutex mutex;                  // of all below
    std::condition_variable work, done;
    const Body* body = nullptr;
    int64_t next = 0, count = 0, running = 0;
    std::exception_ptr error;
    bool stopping = false;

    // Does items until none is left; the lock is held before and after.
    void take(std::unique_lock<std::mutex>& lock) {
        while (body != nullptr && next < count) {
            const int64_t item = next++;
            const Body& current = *body;
            ++running;
            lock.unlock();
            std::exception_ptr thrown;
            try {
                current(item, item + 1);
            } catch (...) {
                thrown = std::current_exception();
            }
            lock.lock();
            --running;
            if (thrown && !error) error = thrown;
        }
    }

    void serve() {
        std::unique_lock lock(mutex);
        while (true) {
            work.wait(lock, [&] { return stopping || (body != nullptr && next < count); });
            if (stopping) return;
            take(lock);
            if (running == 0) done.notify_one();
        }
    }
};

ThreadPool::ThreadPool(int64_t threads) : state_(std::make_unique<State>()) {
    require(threads >= 1, "a thread pool needs at least one thread");
    for (int64_t i = 1; i < threads; ++i) state_->threads.emplace_back([state = state_.get()] { state->serve(); });
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
    }
    state_->work.notify_all();
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
    std::unique_lock lock(state_->mutex);
    state_->body = &body, state_->next = 0, state_->count = count;
    state_->work.notify_all();
    state_->take(lock);
    state_->done.wait(lock, [&] { return state_->running == 0; });
    state_->body = nullptr;
    if (state_->error) std::rethrow_exception(std::exchange(state_->error, nullptr));
}

}  // namespace mink_pd
