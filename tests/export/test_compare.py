"""Lists of detections: what counts as the same."""

import math

import torch

from mink_pd.config.models import NMSConfig
from mink_pd.export.compare import compare_detections
from mink_pd.models import Detections

NMS = NMSConfig(score=0.1, iou=0.1, after=5)


def found(*rows: tuple[float, float, int]) -> Detections:
    """A box of 4 x 2 m at each x, with a score and a class."""
    boxes = torch.tensor([[x, 0, 0, 4, 2, 1.5, 0.3] for x, _, _ in rows]).reshape(-1, 7)
    return Detections(boxes, torch.tensor([c for _, _, c in rows]).long(), torch.tensor([s for _, s, _ in rows]))


def test_order_and_rounding_do_not_matter() -> None:
    one = found((0, 0.9, 0), (10, 0.5, 1), (20, 0.5, 0))
    other = found((20.0005, 0.50005, 0), (10, 0.5, 1), (0, 0.9, 0))
    other.boxes[2, 6] += 2 * math.pi
    agreement = compare_detections(one, other, NMS)
    assert agreement.same
    assert agreement.pairs == 3
    assert 4e-4 < agreement.box < 6e-4


def test_more_than_rounding_is_told() -> None:
    one = found((0, 0.9, 0), (10, 0.5, 1))
    assert compare_detections(one, found((0, 0.9, 0), (10.005, 0.5, 1)), NMS).box > 4e-3
    for other in (found((0, 0.9, 0)), found((0, 0.9, 0), (10, 0.5, 0)), found((0, 0.9, 0), (11, 0.5, 1))):
        assert not compare_detections(one, other, NMS).same
        assert not compare_detections(other, one, NMS).same
    turned = found((0, 0.9, 0), (10, 0.5, 1))
    turned.boxes[0, 6] += math.pi
    assert compare_detections(one, turned, NMS).missing == 2


def test_a_score_at_the_threshold_or_at_the_end_of_a_full_list() -> None:
    one = found((0, 0.9, 0), (10, 0.10004, 1))
    agreement = compare_detections(one, found((0, 0.9, 0)), NMS)
    assert (agreement.edge, agreement.missing) == (1, 0)
    full = [(10.0 * i, 0.9 - i / 10, 0) for i in range(4)]
    agreement = compare_detections(found(*full, (80, 0.45, 0)), found(*full, (90, 0.45, 0)), NMS)
    assert (agreement.edge, agreement.missing) == (2, 0)
    agreement = compare_detections(found(*full, (80, 0.45, 0)), found(*full, (90, 0.40, 0)), NMS)
    assert agreement.missing == 1


def test_an_overlap_at_the_threshold_of_suppression() -> None:
    """Two boxes of 4 x 2 m, d apart along their length: the overlap is (4 - d) / (4 + d)."""
    apart = (4 - 0.1 * 4) / 1.1  # an overlap of 0.1
    for distance, edge in ((apart + 0.001, 1), (apart + 0.1, 0)):
        both = found((0, 0.9, 0), (0, 0.5, 0))
        both.boxes[1, :2] += distance * torch.tensor([math.cos(0.3), math.sin(0.3)])
        agreement = compare_detections(both, found((0, 0.9, 0)), NMS)
        assert (agreement.edge, agreement.missing) == (edge, 1 - edge)
