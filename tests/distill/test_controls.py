"""Controls: the teacher's features are replaced, its importance stays."""

import pytest
import torch
from random_taps import RandomTaps, random_batch
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.distill import Distiller
from mink_pd.distill.controls import averaged, permutation, shuffled
from mink_pd.sparse.norm import BatchNorm


@pytest.mark.parametrize("control", ["random", "shuffled", "averaged"])
@pytest.mark.parametrize("name", ["pointdistiller", "similarity", "sparsekd"])
def test_a_control_keeps_the_real_teachers_importance(name: str, control: str) -> None:
    seen = []
    for kind in ("none", control):
        config = tiny_config(methods=[name], control=kind, initialise="random")
        teacher, student = tiny_networks(config)
        seen.append(Distiller(student, teacher, config)(random_batch(200, 150)))
    (losses, logs), (other_losses, other_logs) = seen
    kept = [key for key in logs if key.endswith(("/inside", "/largest_phi"))]
    assert kept
    assert all(logs[key] == other_logs[key] for key in kept)
    assert all(losses[key] == other_losses[key] for key in ("classification", "box", "direction"))
    assert all(losses[key] != other_losses[key] for key in losses if key.startswith(name))


def test_shuffled_rows_are_the_frames_own() -> None:
    taps = RandomTaps(40, 0, 25)
    pairs = [taps.features(5, 3), taps.head("scores"), taps.head("boxes")]
    orders: list[tuple[torch.Tensor, torch.Tensor]] = []
    mixed = shuffled(pairs, orders)
    frame = pairs[0].teacher.frame
    ((_, order),) = orders
    for before, after in zip(pairs, mixed, strict=True):
        assert after.student is before.student
        assert after.guide is before.guide
        assert torch.equal(after.teacher.frame, frame)
        assert torch.equal(after.teacher.features, before.teacher.features[order])  # one order: scores fit boxes
        for index in (0, 2):
            here = frame == index
            ours, theirs = (sorted(x.teacher.features[here].tolist()) for x in (after, before))
            assert ours == theirs
        assert not torch.equal(after.teacher.features, before.teacher.features)


def test_a_permutation_follows_the_seed() -> None:
    frame = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2, 2, 2])
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        orders.append(permutation(frame).tolist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(10))
    assert all(frame[row] == frame[i] for i, row in enumerate(orders[0]))


def test_averaged_weights_lie_between_teacher_and_random() -> None:
    teacher, _ = tiny_networks(tiny_config())
    networks = []
    for share in (0.0, 0.25, 1.0):
        torch.manual_seed(3)
        networks.append(averaged(teacher, share))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))  # the random state is as it was: adapters start alike
    for random, mixed, whole, own in zip(*(n.parameters() for n in networks), teacher.parameters(), strict=True):
        torch.testing.assert_close(mixed, 0.25 * own + 0.75 * random)
        torch.testing.assert_close(whole, own)
        assert not mixed.requires_grad


@torch.no_grad()
def test_features_of_a_control_are_normalised_by_the_batch() -> None:
    teacher, _ = tiny_networks(tiny_config())
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_var.fill_(1e-4)  # of no use to other weights: features a hundred times too large
    control, batch = averaged(teacher, 0.5), random_batch(300, 200)
    for name, tap in control(batch).taps.items():
        if name.startswith("bev"):
            assert 0.3 < float(tap.features.square().mean().sqrt()) < 1.5
    assert float(teacher.eval()(batch).taps["bev3"].features.square().mean().sqrt()) > 10


@pytest.mark.parametrize("control", ["none", "random", "averaged"])
def test_norms_of_the_teachers_are_synchronised_with_the_students(control: str) -> None:
    config = tiny_config(methods=["fitnets"], control=control, initialise="random")
    config.train.sync_norm = True
    teacher, student = tiny_networks(config)
    norms = [
        m for one in Distiller(student, teacher, config)._outside for m in one.modules() if isinstance(m, BatchNorm)
    ]
    assert norms
    assert all(norm.synchronised for norm in norms)
