// The core against plain loops, on one thread and on several.
#include <cstdio>

#include "core/blocks.h"
#include "core/convolution.h"
#include "expect.h"

int main() {
    tests::test_pool();
    tests::test_int8();
    for (const int64_t threads : {1, 3}) {
        mink_pd::ThreadPool pool(threads);
        tests::test_flow(pool);
        tests::test_maps(pool);
        tests::test_convolution(pool);
        tests::test_sets(pool);
        tests::test_mlp(pool);
        tests::test_graph(pool);
    }
    std::printf("%d expectations, %d failed; vectors of %d floats, bfloat16 %s\n", tests::expectations, tests::failures,
                mink_pd::LANES, mink_pd::multiplies_bf16() ? "yes" : "no");
    return tests::failures == 0 ? 0 : 1;
}
