"""The box coder and anchor matching against plain formulas and shapely."""

import math

import numpy as np
import pytest
import torch
from shapely.geometry import box as rectangle

from mink_pd.config import Config
from mink_pd.config.models import AnchorConfig
from mink_pd.models.compress import width
from mink_pd.models.heads.anchors import (
    aligned_iou,
    decode,
    direction_class,
    encode,
    match,
    match_plainly,
    place_anchors,
    with_direction,
)


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


@pytest.mark.parametrize("offset", [math.pi / 4, 0.78539, -math.pi / 2])
@pytest.mark.parametrize("yaw", np.linspace(-3.1, 3.1, 13).tolist())
def test_direction_recovers_the_heading_from_half_a_turn_off(yaw: float, offset: float) -> None:
    heading = torch.tensor([yaw], dtype=torch.float64)
    for off in (0.0, math.pi, -math.pi):
        back = with_direction(heading + off, direction_class(heading, offset), offset)
        assert math.cos(float(back) - yaw) == pytest.approx(1)


def test_aligned_iou_against_shapely() -> None:
    a, b = boxes(200), boxes(200, seed=2)
    a[:, :2] /= 8  # crowd them, so that many overlap
    b[:, :2] /= 8

    def shape(item: torch.Tensor):  # type: ignore[no-untyped-def]
        x, y, _, length, breadth, _, yaw = item.tolist()
        if abs(math.sin(yaw)) > abs(math.cos(yaw)):
            length, breadth = breadth, length
        return rectangle(x - length / 2, y - breadth / 2, x + length / 2, y + breadth / 2)

    wanted = [shape(p).intersection(shape(q)).area / shape(p).union(shape(q)).area for p, q in zip(a, b, strict=True)]
    ours = aligned_iou(a, b)
    assert (ours > 0.1).sum() > 20
    torch.testing.assert_close(ours, torch.tensor(wanted, dtype=torch.float64))


ANCHOR = AnchorConfig(size=(4.0, 2.0, 1.5), z=0.0, matched=0.6, unmatched=0.45)


def test_matching_by_hand() -> None:
    positions = torch.tensor([[0.0, 0.0], [1.2, 0.0], [2.4, 0.0], [20.0, 0.0], [40.0, 0.0]])
    anchors = place_anchors(positions, [ANCHOR])
    objects = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0], [22.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0]])
    frame, label = torch.zeros(5, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    # IoU with the first: 1, 0.54, 0.25; with the second the fourth anchor's 0.33 is its best, so it is forced.
    assert match(anchors, frame, objects, label, label, [ANCHOR])[:, 0].tolist() == [0, -2, -1, 1, -1]
    none = match(anchors, frame, objects[:0], label[:0], label[:0], [ANCHOR])
    assert (none == -1).all()
    elsewhere = match(anchors, frame, objects, label, label + 1, [ANCHOR])
    assert (elsewhere == -1).all()
    twice = match(anchors, frame, objects[[0, 1, 0, 1]], label[:1].expand(4), label[:1].expand(4), [ANCHOR])
    assert twice[:, 0].tolist() == [2, -2, -1, 3, -1]  # equal claims: the last object's, on every device


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])  # plain torch, compiled
def test_matching_against_a_loop_over_all_pairs(dtype: torch.dtype) -> None:
    random = np.random.default_rng(3)
    kinds = [ANCHOR, AnchorConfig(size=(0.8, 0.6, 1.7), z=0.0, matched=0.5, unmatched=0.35)]
    positions = torch.from_numpy(random.uniform(-6, 6, (300, 2)))
    frame = torch.from_numpy(random.integers(0, 2, 300))
    objects = boxes(12, seed=4)
    objects[:, :2] = torch.from_numpy(random.uniform(-6, 6, (12, 2)))
    label, box_frame = torch.arange(12) % 2, torch.arange(12) // 6
    anchors, objects = place_anchors(positions, kinds).to(dtype), objects.to(dtype)
    ours = match(anchors, frame, objects, label, box_frame, kinds)
    wanted = torch.full((300, 4), -1)
    overlap = torch.zeros(300, 4, 12, dtype=dtype)
    for site, kind, box in np.ndindex(300, 4, 12):
        if frame[site] == box_frame[box] and kind // 2 == label[box]:
            overlap[site, kind, box] = aligned_iou(anchors[site, kind][None], objects[box][None])[0]
    for site, kind in np.ndindex(300, 4):
        best, row = overlap[site, kind].max(dim=0)
        if best >= kinds[kind // 2].unmatched:
            wanted[site, kind] = row if best >= kinds[kind // 2].matched else -2
    for box in range(12):
        most = overlap[..., box].max()
        wanted[(overlap[..., box] == most) & (most > 0)] = box
    assert (wanted >= 0).sum() > 12
    assert torch.equal(ours, wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_anchors_of_any_class_against_a_loop_over_all_pairs(dtype: torch.dtype) -> None:
    """Two levels, whose anchors differ in size; every object competes for every anchor of its frame."""
    random = np.random.default_rng(5)
    kinds = [ANCHOR, AnchorConfig(size=(0.8, 0.6, 1.7), z=0.0, matched=0.5, unmatched=0.35)]
    positions = torch.from_numpy(random.uniform(-6, 6, (220, 2)))
    anchors = torch.cat([place_anchors(positions[:150], kinds), place_anchors(positions[150:], kinds, scale=2.0)])
    frame = torch.from_numpy(random.integers(0, 2, 220))
    objects = boxes(12, seed=6)
    objects[:, :2] = torch.from_numpy(random.uniform(-6, 6, (12, 2)))
    objects[:3, 3:5] *= 2  # for the coarser level's anchors
    label, box_frame = torch.arange(12) % 5, torch.arange(12) // 6
    anchors, objects = anchors.to(dtype), objects.to(dtype)
    ours = match(anchors, frame, objects, label, box_frame, kinds, any_class=True)
    pairs = (anchors.reshape(-1, 1, 7), objects[None])
    whole = [x.expand(880, 12, 7).reshape(-1, 7) for x in pairs]
    overlap = aligned_iou(*whole).view(220, 4, 12) * (frame[:, None, None] == box_frame)
    best, row = overlap.max(dim=2)
    positive, negative = (
        torch.tensor([getattr(k, key) for k in kinds]).repeat_interleave(2) for key in ("matched", "unmatched")
    )
    wanted = torch.where(best >= positive, row, torch.where(best >= negative, -2, -1))
    for box in range(12):
        most = overlap[..., box].max()
        wanted[(overlap[..., box] == most) & (most > 0)] = box
    assert {int(box) for box in wanted[150:].unique()} & {0, 1, 2}
    assert torch.equal(ours, wanted)


@pytest.mark.parametrize("any_class", [False, True])
def test_matching_of_a_grid_is_that_of_plain_torch_whose_overlaps_are_often_equal(any_class: bool) -> None:
    """Objects at the corners of cells have several best anchors, and twins compete for all of theirs."""
    config = Config()
    kinds = [config.model.anchors[name] for name in config.data.classes]
    axis = torch.arange(40) * 0.32
    positions = torch.cartesian_prod(axis, axis).repeat(2, 1)  # (3200, 2)
    frame = torch.arange(2).repeat_interleave(1600)
    torch.manual_seed(0)
    objects, label = boxes(60).float(), torch.randint(0, 3, (60,))
    objects[:, :2] = torch.randint(0, 40, (60, 2)) * 0.32 + torch.tensor([0.0, 0.16])[torch.randint(0, 2, (60, 1))]
    objects[:, 3:6] = torch.tensor([kinds[one].size for one in label.tolist()])
    objects[:, 6] = torch.tensor([0.0, math.pi / 4, math.pi / 2, -2.5, 7.0])[torch.arange(60) % 5]
    objects, label = objects.repeat(2, 1), label.repeat(2)
    box_frame = torch.arange(4)[torch.arange(120) % 4] % 3  # no site is in frame 2
    anchors = place_anchors(positions, kinds)
    ours = match(anchors, frame, objects, label, box_frame, kinds, any_class)
    limits = (torch.tensor([getattr(kind, key) for kind in kinds]) for key in ("matched", "unmatched"))
    rules = [limit.repeat_interleave(2) for limit in limits]
    assert torch.equal(ours, match_plainly(anchors, frame, objects, label, box_frame, *rules, any_class))
    assert (ours >= 0).sum() > 100
    assert (ours == -2).sum() > 100


def test_larger_anchors_stand_on_the_same_ground() -> None:
    small, large = (place_anchors(torch.zeros(1, 2), [ANCHOR], scale=s)[0, 0] for s in (1.0, 4.0))
    assert large[3:6].tolist() == [16.0, 8.0, 6.0]
    assert float(large[2] - large[5] / 2) == float(small[2] - small[5] / 2) == -0.75


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
