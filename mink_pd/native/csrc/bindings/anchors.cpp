#include "../core/anchors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "check.h"
#include "operators.h"
#include "pool.h"

namespace mink_pd::bindings {

Tensor match_anchors(const Tensor& anchors_, const Tensor& frame_, const Tensor& boxes_, const Tensor& labels_,
                     const Tensor& box_frame_, const Tensor& matched, const Tensor& unmatched, bool any_class) {
    const Tensor anchors = anchors_.contiguous(), frame = frame_.contiguous(), boxes = boxes_.contiguous();
    const Tensor labels = labels_.contiguous(), box_frame = box_frame_.contiguous();
    check(anchors, at::kFloat, 3, "anchors");
    check(frame, at::kLong, 1, "frame");
    check(boxes, at::kFloat, 2, "boxes");
    check(labels, at::kLong, 1, "labels");
    check(box_frame, at::kLong, 1, "box_frame");
    const int64_t sites = anchors.size(0), kinds = anchors.size(1), count = boxes.size(0);
    TORCH_CHECK(anchors.size(2) == 7 && boxes.size(1) == 7, "anchors must be (S, A, 7) and boxes (B, 7)");
    TORCH_CHECK(frame.size(0) == sites, "frame must name the frame of each site");
    TORCH_CHECK(labels.size(0) == count && box_frame.size(0) == count, "each box must have a label and a frame");
    for (const auto* limit : {&matched, &unmatched}) {
        check(*limit, at::kFloat, 1, "limits");
        TORCH_CHECK(limit->size(0) == kinds, "there must be a limit for each kind of anchor");
    }
    Tensor result = at::empty({sites, kinds}, frame.options());
    match_anchors(
        torch_threads(), {anchors.const_data_ptr<float>(), frame.const_data_ptr<int64_t>(), sites, kinds},
        {boxes.const_data_ptr<float>(), labels.const_data_ptr<int64_t>(), box_frame.const_data_ptr<int64_t>(), count},
        {matched.const_data_ptr<float>(), unmatched.const_data_ptr<float>(), any_class},
        result.mutable_data_ptr<int64_t>());
    return result;
}

std::tuple<Tensor, Tensor> focal_loss(const Tensor& logits_, const Tensor& labels, const Tensor& share, double alpha,
                                      double gamma) {
    TORCH_CHECK(logits_.dim() == 3, "logits must be (S, A, classes)");
    const int64_t sites = logits_.size(0), kinds = logits_.size(1), classes = logits_.size(2);
    // A part of a wider row, as a head's outputs are, is read where it is.
    const bool rows = logits_.stride(2) == 1 && logits_.stride(1) == classes && logits_.stride(0) >= kinds * classes;
    const Tensor logits = rows ? logits_ : logits_.contiguous();
    TORCH_CHECK(logits.is_cpu() && logits.scalar_type() == at::kFloat, "logits must be a CPU tensor of type Float");
    check(labels, at::kLong, 2, "labels");
    check(share, at::kFloat, 1, "share");
    TORCH_CHECK(labels.size(0) == sites && labels.size(1) == kinds && share.size(0) == sites,
                "labels must be (S, A) and share (S,)");
    Tensor gradient = at::empty({sites, kinds, classes}, logits.options());
    const Scores scores{
        logits.const_data_ptr<float>(), sites, logits.stride(0), kinds, classes, labels.const_data_ptr<int64_t>(),
        share.const_data_ptr<float>()};
    const double sum =
        focal_loss(torch_threads(), scores, float(alpha), float(gamma), gradient.mutable_data_ptr<float>());
    return {at::full({}, sum, logits.options()), gradient};
}

}  // namespace mink_pd::bindings
