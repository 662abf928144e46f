// The threads that kernels run on. The bindings pass torch's, a program without torch passes a ThreadPool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace mink_pd {

class Pool {
 public:
    using Body = std::function<void(int64_t first, int64_t last)>;

    virtual ~Pool() = default;
    virtual int64_t threads() const = 0;
    // Calls body(first, last) for stretches that cover 0 .. count - 1, count <= threads(), at the same time where that
    // is possible, and returns when all are done. An exception of a body is thrown here. A body may call run.
    virtual void run(int64_t count, const Body& body) = 0;
};

// Threads of its own, which sleep while there is nothing to do. For one caller at a time; a caller that finds the
// threads busy, or that is one of them, does its work alone.
class ThreadPool final : public Pool {
 public:
    explicit ThreadPool(int64_t threads);
    ~ThreadPool() override;
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int64_t threads() const override;
    void run(int64_t count, const Body& body) override;

 private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace mink_pd
