"""The box coder and anchor matching against plain formulas and shapely."""

import math

import numpy as np
import pytest
import torch
from shapely.geometry import box as rectangle

from mink_pd.config import Config
from mink_pd.models.anchors import (
    aligned_iou,
    assign,
    decode,
    direction_class,
    encode,
    place_anchors,
    with_direction,
)
from mink_pd.models.compress import width


def boxes(count: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    low, high = [0, -20, -2, 0.5, 0.5, 1.0, -math.pi], [40, 20, 0, 4.5, 2.0, 2.0, math.pi]
    return torch.from_numpy(random.uniform(low, high, (count, 7)))


def test_decode_inverts_encode() -> None:
    objects, anchors = boxes(50), boxes(50, seed=1)
    torch.testing.assert_close(decode(encode(objects, anchors), anchors), objects)


def test_encode_is_the_formula_of_second() -> None:
    anchor = torch.tensor([[1.0, 2.0, -1.0, 4.0, 3.0, 1.5, 0.5]])
    box = torch.tensor([[2.0, 1.0, -0.7, 5.0, 2.0, 1.8, 0.9]])
    wanted = [1 / 5, -1 / 5, 0.3 / 1.5, math.log(5 / 4), math.log(2 / 3), math.log(1.8 / 1.5), 0.4]
    torch.testing.assert_close(encode(box, anchor)[0], torch.tensor(wanted))


@pytest.mark.parametrize("yaw", np.linspace(-3.1, 3.1, 13).tolist())
def test_direction_recovers_the_heading_from_half_a_turn_off(yaw: float) -> None:
    heading = torch.tensor([yaw], dtype=torch.float64)
    for off in (0.0, math.pi, -math.pi):
        back = with_direction(heading + off, direction_class(heading))
        assert math.cos(float(back) - yaw) == pytest.approx(1)


def test_aligned_iou_against_shapely() -> None:
    a, b = boxes(30), boxes(20, seed=2)
    a[:, :2] /= 8  # crowd them, so that many overlap
    b[:, :2] /= 8

    def shape(item: torch.Tensor):  # type: ignore[no-untyped-def]
        x, y, _, length, breadth, _, yaw = item.tolist()
        if abs(math.sin(yaw)) > abs(math.cos(yaw)):
            length, breadth = breadth, length
        return rectangle(x - length / 2, y - breadth / 2, x + length / 2, y + breadth / 2)

    wanted = [[shape(p).intersection(shape(q)).area / shape(p).union(shape(q)).area for q in b] for p in a]
    ours = aligned_iou(a, b)
    assert (ours > 0.1).sum() > 20
    torch.testing.assert_close(ours, torch.tensor(wanted, dtype=torch.float64))


def test_assignment_by_hand() -> None:
    anchors = torch.tensor([[x, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0] for x in (0.0, 1.2, 2.4, 20.0, 40.0)])
    objects = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0], [22.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0]])
    # IoU with the first: 1, 0.54, 0.25; with the second the fourth anchor's 0.33 is its best, so it is forced.
    assert assign(anchors, objects, matched=0.6, unmatched=0.45).tolist() == [0, -2, -1, 1, -1]
    assert assign(anchors, objects[:0], matched=0.6, unmatched=0.45).tolist() == [-1] * 5


def test_anchors_stand_at_their_sites() -> None:
    config = Config()
    kinds = [config.model.anchors[name] for name in config.data.classes]
    anchors = place_anchors(torch.tensor([[1.0, 2.0], [3.0, -4.0]]), kinds)
    assert anchors.shape == (2, 6, 7)
    assert anchors[1, 2].tolist() == pytest.approx([3.0, -4.0, -0.6, 0.8, 0.6, 1.73, 0.0])
    assert anchors[0, 5].tolist() == pytest.approx([1.0, 2.0, -0.6, 1.76, 0.6, 1.73, math.pi / 2])


def test_widths() -> None:
    assert [width(64, c) for c in (1, 4, 16)] == [64, 32, 16]
    for compression in (2, 4, 8, 16):
        assert (256 / width(256, compression)) ** 2 == pytest.approx(compression, rel=0.03)
