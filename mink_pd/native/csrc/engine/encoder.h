// What stands before the backbone: from points to features at sites of the bird's-eye view.
#pragma once

#include <cstdint>
#include <memory>

#include "core/pool.h"
#include "model_file.h"
#include "pillar_points.h"
#include "site_grid.h"

namespace mink_pd::engine {

// Features (sites, padded channels) in the order of the sites, in the memory of an encoder's state.
struct Encoded {
    const SiteGrid* sites;
    const float* features;
};

class Encoder {
 public:
    // Memory that a cloud needs and the next one reuses.
    struct State {
        virtual ~State() = default;
    };

    virtual ~Encoder() = default;
    virtual int64_t out() const = 0;     // channels
    virtual int64_t stride() const = 0;  // of the sites over the grid of points
    virtual std::unique_ptr<State> make_state() const = 0;
    // The cells of the sites' grid are made up to a multiple of `whole` along each axis.
    virtual Encoded run(Pool& pool, const Cloud& cloud, int64_t whole, State& state) const = 0;
};

// The encoder that a file describes.
std::unique_ptr<Encoder> make_encoder(const ModelFile& file, const PointPlan& points);

}  // namespace mink_pd::engine
