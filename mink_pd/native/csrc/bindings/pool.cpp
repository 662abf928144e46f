#include "pool.h"

#include <ATen/Parallel.h>

#ifndef INTRA_OP_PARALLEL
#error "at::parallel_for is serial here; compile with -fopenmp"
#endif

namespace mink_pd {
namespace {

class TorchThreads final : public Pool {
 public:
    int64_t threads() const override { return at::get_num_threads(); }
    void run(int64_t count, const Body& body) override { at::parallel_for(0, count, 1, body); }
};

}  // namespace

Pool& torch_threads() {
    static TorchThreads threads;
    return threads;
}

void with_torch_threads(const std::function<void(Pool&)>& work) {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    Team team(threads);
    at::parallel_for(0, threads, 1, [&](int64_t first, int64_t) {
        if (first > 0) return team.serve();
        struct Stop {
            Team& team;
            ~Stop() { team.stop(); }
        } stop{team};
        work(team);  // on the calling thread, which has the first stretch
    });
}

}  // namespace mink_pd
