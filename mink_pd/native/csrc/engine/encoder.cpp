#include "encoder.h"

#include <string>

#include "buffer.h"
#include "core/error.h"
#include "pillar_layers.h"
#include "pillar_net.h"
#include "voxel_net.h"

namespace mink_pd::engine {
namespace {

class PillarEncoder final : public Encoder {
 public:
    PillarEncoder(const ModelFile& file, const PointPlan& points) : points_(points), net_(file, points) {}

    int64_t out() const override { return net_.out(); }
    int64_t stride() const override { return 1; }
    std::unique_ptr<Encoder::State> make_state() const override { return std::make_unique<State>(); }
    Encoded run(Pool& pool, const Cloud& cloud, int64_t whole, Encoder::State& memory) const override {
        State& state = static_cast<State&>(memory);
        state.points.sort(pool, points_, cloud, whole);
        float* features = state.features.sized(state.points.pillars() * net_.width());
        net_.run(pool, state.points, features);
        return {&state.points.grid(), features};
    }

 private:
    struct State final : Encoder::State {
        PillarPoints points;
        Buffer<float> features;
    };

    PointPlan points_;
    PillarNet net_;
};

}  // namespace

std::unique_ptr<Encoder> make_encoder(const ModelFile& file, const PointPlan& points) {
    const Json& description = file.description()["encoder"];
    const std::string& kind = description["kind"].text();
    if (kind == "pillars") {
        const int64_t hidden = description["hidden"].integer(0, 100);
        if (hidden == 0) return std::make_unique<PillarEncoder>(file, points);
        return std::make_unique<PillarLayers>(file, points, hidden);
    }
    require(kind == "voxels", "has an encoder of a kind that this library does not know; use a newer one");
    return std::make_unique<VoxelNet>(file, points);
}

}  // namespace mink_pd::engine
