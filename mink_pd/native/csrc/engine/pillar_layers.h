// The pillar feature net of several layers: every layer but the last appends its pillar's maximum to the points
// (PointLayer in mink_pd/models/pillars.py).
#pragma once

#include <cstdint>
#include <vector>

#include "core/memory.h"
#include "core/panels.h"
#include "encoder.h"
#include "point_map.h"

namespace mink_pd::engine {

class PillarLayers final : public Encoder {
 public:
    // `hidden`: layers before the last.
    PillarLayers(const ModelFile& file, const PointPlan& points, int64_t hidden);

    int64_t out() const override { return layers_.back().own.out; }
    int64_t stride() const override { return 1; }
    std::unique_ptr<Encoder::State> make_state() const override;
    Encoded run(Pool& pool, const Cloud& cloud, int64_t whole, Encoder::State& state) const override;

 private:
    // Weights (in, out) packed for the core's products.
    struct Matrix {
        int64_t in = 0, out = 0, width = 0;  // width: padded(out)
        Scratch<float> weights{0};

        Matrix() = default;
        // From values (out, in), whose rows start every `stride` numbers.
        Matrix(const float* values, int64_t stride, int64_t in, int64_t out);
        // y[i] += W x[i] for rows 0 .. rows - 1, listed in `every`.
        void add(const int32_t* every, int64_t rows, SourceRows x, float* y) const;
    };
    // A layer after the first: of a point's own features, and of the largest of its pillar's.
    struct PairLayer {
        Matrix own, largest;
        Scratch<float> bias{0};  // (width,)
    };
    struct Memory;
    struct State;

    int64_t rows_of(const PillarPoints& points, int64_t pillar) const;
    void describe(const PillarPoints& points, int64_t first, int64_t last, Memory& memory) const;
    void run_some(const PillarPoints& points, int64_t first, int64_t last, Memory& memory, float* y) const;

    PointPlan points_;
    PointMap map_;
    Matrix by_point_;
    std::vector<PairLayer> layers_;
    int64_t slots_ = 0;   // points of a pillar that hold no zeros which count; 0: no zeros count
    int64_t widest_ = 0;  // row of any layer
};

}  // namespace mink_pd::engine
