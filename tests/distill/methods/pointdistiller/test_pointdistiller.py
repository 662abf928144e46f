"""PointDistiller against a plain reference, row by row."""

import numpy as np
import pytest
import torch
from torch import nn

from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch
from mink_pd.distill import Distiller
from mink_pd.distill.importance import importance, inside_share
from mink_pd.distill.inspect import inspect_importance
from mink_pd.distill.methods.pointdistiller import PointDistillerConfig
from mink_pd.distill.methods.pointdistiller.graph import GraphConv, local_graph
from mink_pd.distill.methods.pointdistiller.method import PointDistiller, weights
from mink_pd.distill.pairs import pair_taps
from mink_pd.errors import ConfigError, DistillError
from mink_pd.models import Detector, build_detector


def config(**changes: object) -> Config:
    model = PointPillarsConfig(voxel_size=(0.2, 0.2, 4.0), pillar_channels=8, channels=[8, 12, 16], layers=[1, 1, 1],
                        neck_channels=8)  # fmt: skip
    result = Config(model=model)
    result.data.range = (0.0, -3.2, -3.0, 6.4, 3.2, 1.0)
    result.distill.pointdistiller = PointDistillerConfig(
        **({"taps": ["bev2", "bev3"], "importance": "channel_max", "rows": 12, "neighbours": 5} | changes)
    )  # type: ignore[arg-type]
    return result


def batch(*sizes: int) -> Batch:
    random = np.random.default_rng(1)
    clouds = [random.uniform([0, -3.2, -3, 0], [6.4, 3.2, 1, 1], (n, 4)).astype(np.float32) for n in sizes]
    return Batch(
        torch.from_numpy(np.concatenate(clouds)),
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        [torch.tensor([[3.0, 0.5, -1.0, 3.9, 1.6, 1.5, 0.3]])] * len(sizes),
        [torch.tensor([0])] * len(sizes),
        [Frame(str(i), cloud) for i, cloud in enumerate(clouds)],
    )


def networks(settings: Config) -> tuple[Detector, Detector]:
    """Teacher, and a student of a quarter of its size."""
    torch.manual_seed(0)
    small = settings.model_copy(deep=True)
    small.model.compression = 4
    return build_detector(settings), build_detector(small)


def normed(edges: torch.Tensor, norm: nn.BatchNorm1d) -> torch.Tensor:
    """Batch norm written out."""
    result = (edges - edges.mean(dim=0)) / (edges.var(dim=0, unbiased=False) + norm.eps).sqrt()
    return result * norm.weight + norm.bias if norm.affine else result


@pytest.mark.parametrize("edge", ["neighbour", "difference"])
@pytest.mark.parametrize("teacher_adapter", ["frozen", "trained"])
@pytest.mark.parametrize("reweighting", [True, False])
def test_loss_is_the_papers(edge: str, teacher_adapter: str, reweighting: bool) -> None:
    settings = config(
        edge=edge, teacher_adapter=teacher_adapter, reweighting=reweighting, taps=["bev2"], temperature=0.5
    )
    teacher, student = networks(settings)
    distiller = Distiller(student, teacher, settings)
    inputs = batch(300, 250)
    voxels = student.shared_input(inputs)
    predictions = teacher(inputs, voxels), student(inputs, voxels)
    method = distiller.methods["pointdistiller"]
    assert isinstance(method, PointDistiller)
    (pair,) = pair_taps(["bev2"], predictions[0], predictions[1], predictions[0], inputs)
    loss, _ = method.compare(pair)

    theirs, ours = pair.teacher.features, pair.student.features
    phi = {}  # by selected row
    for frame in range(2):
        here = torch.nonzero(pair.teacher.coordinates[:, 0] == frame)[:, 0]
        score = theirs[here].max(dim=1).values
        top = score.argsort(descending=True)[:12]
        weight = 12 * torch.softmax(score[top] / score[top].mean() / 0.5, dim=0)
        phi |= dict(zip(here[top].tolist(), weight.tolist() if reweighting else [1.0] * 12, strict=True))
    # Among equally near rows any may be a neighbour, so the edges are the graph's own; they have a test of their own.
    _, _, graph = method.choose(pair)
    assert sorted(graph.selected.tolist()) == sorted(phi)
    features = {}
    for name, x in (("teacher", theirs), ("student", ours)):
        conv = getattr(method, name)["bev2"]
        rows = []
        for centre, neighbour in zip(graph.centre, graph.neighbour, strict=True):
            i, j = x[graph.selected[centre]], x[neighbour]
            rows.append(torch.cat([i - j if edge == "difference" else j, i]) @ conv.linear.weight.t())
        features[name] = torch.relu(normed(torch.stack(rows), conv.norm))
    total = torch.zeros(())
    for index, centre in enumerate(graph.centre):
        difference = features["teacher"][index] - features["student"][index]
        total = total + phi[int(graph.selected[centre])] * difference.square().mean()
    assert len(graph.centre) == 2 * 12 * 5
    torch.testing.assert_close(loss, total / len(graph.centre), rtol=1e-4, atol=1e-6)


def test_neighbours_are_the_nearest_of_the_same_frame() -> None:
    places = torch.rand(60, 2)
    frame = torch.arange(60) % 3
    selected = [torch.tensor([0, 3, 30]), torch.tensor([1]), torch.tensor([2, 59])]
    graph = local_graph(selected, frame, places, 7)
    for row, centre in enumerate(torch.cat(selected).tolist()):
        ours = graph.neighbour[graph.centre == row]
        distance = (places - places[centre]).norm(dim=1).masked_fill(frame != frame[centre], torch.inf)
        assert set(ours.tolist()) == set(distance.argsort()[:7].tolist())
        assert ours[0] == centre


def test_a_frame_with_few_rows_gives_a_smaller_graph() -> None:
    frame = torch.tensor([0, 0, 0, 2, 2])
    graph = local_graph(
        [torch.tensor([1]), torch.zeros(0, dtype=torch.int64), torch.tensor([4, 3])],
        frame,
        torch.rand(5, 2),
        8,
    )
    assert graph.centre.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert graph.degree.tolist() == [3, 2, 2]
    assert set(graph.neighbour[:3].tolist()) == {0, 1, 2}


def test_weights_average_to_one_and_follow_the_softmax() -> None:
    score = torch.tensor([3.0, 1.0, 2.0, 5.0])
    selected = [torch.tensor([0, 2]), torch.tensor([3])]
    raw = PointDistillerConfig(temperature=2.0, normalise=False)
    assert weights(score, selected, raw).tolist() == pytest.approx([2 / (1 + np.exp(-0.5)), 2 / (1 + np.exp(0.5)), 1.0])
    relative = PointDistillerConfig(temperature=2.0)
    wanted = [2 / (1 + np.exp(-0.2)), 2 / (1 + np.exp(0.2)), 1.0]
    assert weights(score, selected, relative).tolist() == pytest.approx(wanted)
    assert weights(10 * score, selected, relative).tolist() == pytest.approx(wanted)
    assert weights(score, selected, PointDistillerConfig(reweighting=False)).tolist() == [1.0, 1.0, 1.0]


@torch.no_grad()
def test_importance_against_loops() -> None:
    teacher, _ = networks(config())
    inputs = batch(200, 100)
    taps = teacher.eval()(inputs).taps
    points = importance("points", "bev2", taps)
    scores = importance("score", "bev3", taps)
    cells = torch.floor((inputs.points[:, :2] - torch.tensor([0.0, -3.2])) / 0.2).long()
    for row, (frame, x, y) in enumerate(taps["bev2"].coordinates.tolist()):
        assert (
            points[row] == ((inputs.frame == frame) & (cells[:, 0] // 4 == x // 4) & (cells[:, 1] // 4 == y // 4)).sum()
        )
    sites, logits = taps["scores"].coordinates, taps["scores"].features
    for row, (frame, x, y) in enumerate(taps["bev3"].coordinates.tolist()):
        inside = (sites[:, 0] == frame) & (sites[:, 1] // 8 == x // 8) & (sites[:, 2] // 8 == y // 8)
        assert scores[row] == pytest.approx(float(torch.sigmoid(logits[inside]).max()))


def test_inside_share_of_a_turned_box() -> None:
    box = torch.tensor([[0.0, 0.0, 0.0, 4.0, 1.0, 1.5, np.pi / 4]])
    places = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.2, -1.2], [1.6, 1.6]])
    assert float(inside_share(places, box)) == 0.5


def test_the_teacher_stays_as_it_is_and_outside_the_state() -> None:
    settings = config()
    teacher, student = networks(settings)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    distiller = Distiller(student, teacher, settings)
    distiller.train()
    losses, logs = distiller(batch(200, 150))
    sum(losses.values()).backward()
    assert {"pointdistiller_bev2", "pointdistiller_bev3"} < set(losses)
    assert 0 <= float(logs["pointdistiller/bev3/inside"]) <= 1
    assert not teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    own = {f"detector.{name}" for name in student.state_dict()}
    assert {k for k in distiller.state_dict() if not k.startswith("methods.")} == own
    assert all(p.grad is not None for p in distiller.parameters() if p.requires_grad)


def test_a_frozen_adapter_gets_no_gradient() -> None:
    assert not any(p.requires_grad for p in GraphConv(4, 3, "neighbour", frozen=True).parameters())


def test_taps_on_separate_maps_are_refused() -> None:
    settings = config()
    teacher, student = networks(settings)
    inputs = batch(100)
    with pytest.raises(DistillError, match=r"'bev2'.*different coordinate maps"):
        pair_taps(["bev2"], teacher(inputs), student(inputs), teacher(inputs), inputs)


def test_errors_name_what_is_wrong() -> None:
    settings = config(taps=["bev9"])
    teacher, student = networks(settings)
    with pytest.raises(DistillError, match="bev9"):
        Distiller(student, teacher, settings)
    settings.distill.methods = ["magic"]
    with pytest.raises(ConfigError, match="magic"):
        Distiller(student, teacher, settings)
    other = config()
    other.data.range = (0.0, -3.2, -3.0, 3.2, 3.2, 1.0)
    with pytest.raises(DistillError, match=r"data\.range"):
        Distiller(build_detector(other), teacher, config())


def test_nothing_in_range_is_no_error() -> None:
    settings = config()
    teacher, student = networks(settings)
    losses, _ = Distiller(student, teacher, settings)(batch(0, 0))
    assert sum(float(x.detach()) for x in losses.values()) == 0


def test_a_view_shows_what_would_be_selected() -> None:
    teacher, _ = networks(config())
    inputs = batch(200)
    frame = inputs.frames[0]
    near = inputs.boxes[0].numpy()
    frame.boxes, frame.names = np.concatenate([near, near + 900]), np.array(["Car", "Car"])
    view = inspect_importance(teacher, frame, "bev3", "points", rows=3)
    assert np.array_equal(view.boxes, near)
    assert view.selected.shape == (3, 3)
    assert len(view.points) == len(view.importance) == 200
    cells = np.floor((view.points[:, :2] - [0, -3.2]) / 1.6)
    _, index, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    assert np.array_equal(view.importance, counts[index.ravel()])
    with pytest.raises(DistillError, match="nowhere"):
        inspect_importance(teacher, frame, "nowhere", "points", rows=3)
