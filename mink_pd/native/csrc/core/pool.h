// The threads that kernels run on. The bindings pass torch's, a program without torch passes a ThreadPool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

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

// A thread that calls run, and others that call serve and help it until stop. For one caller of run at a time; a caller
// that finds the team busy, or that is one of its members, does its work alone. So does a caller whom nobody serves.
class Team final : public Pool {
 public:
    explicit Team(int64_t threads);  // how many there are, the caller of run included
    ~Team() override;
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int64_t threads() const override;
    void run(int64_t count, const Body& body) override;
    void serve();
    void stop();

 private:
    struct State;
    std::unique_ptr<State> state_;
};

// Threads of its own, which sleep while there is nothing to do; otherwise a Team.
class ThreadPool final : public Pool {
 public:
    explicit ThreadPool(int64_t threads);
    ~ThreadPool() override;
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int64_t threads() const override { return team_.threads(); }
    void run(int64_t count, const Body& body) override { team_.run(count, body); }

 private:
    Team team_;
    std::vector<std::thread> threads_;  // besides the caller's
};

}  // namespace mink_pd
