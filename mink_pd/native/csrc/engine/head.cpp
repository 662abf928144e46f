#include "head.h"

#include "anchor_head.h"
#include "center_head.h"
#include "core/error.h"

namespace mink_pd::engine {

std::unique_ptr<Head> make_head(const ModelFile& file, const BevNet& bev, const PointPlan& points, int64_t classes,
                                int64_t stride) {
    const std::string& kind = file.description()["head"]["kind"].text();
    if (kind == "anchors") return std::make_unique<AnchorHead>(file, bev, points, classes, stride);
    require(kind == "centres", "has a head of a kind that this library does not know; use a newer one");
    return std::make_unique<CenterHead>(file, bev, points, classes, stride);
}

}  // namespace mink_pd::engine
