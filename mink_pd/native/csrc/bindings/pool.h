// Torch's own threads, so that two pools never fight over the cores.
#pragma once

#include <functional>

#include "../core/pool.h"

namespace mink_pd {

Pool& torch_threads();

// Calls work(pool) with the same threads, which stay awake between the runs of the pool: for work of several runs, most
// of which take less time than waking a thread does.
void with_torch_threads(const std::function<void(Pool&)>& work);

}  // namespace mink_pd
