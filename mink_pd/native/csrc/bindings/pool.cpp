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

}  // namespace mink_pd
