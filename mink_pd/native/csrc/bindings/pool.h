// Torch's own threads, so that two pools never fight over the cores.
#pragma once

#include "../core/pool.h"

namespace mink_pd {

Pool& torch_threads();

}  // namespace mink_pd
