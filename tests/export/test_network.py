"""The dense networks against the detectors' own sparse layers, site by site."""

import pytest
import torch
from export.conftest import clusters, shaken
from models.frames import nuscenes, pointpillars, second

from mink_pd.config import Config
from mink_pd.data.batch import collate
from mink_pd.errors import ConfigError
from mink_pd.export.anchor_head import AnchorMaps
from mink_pd.export.network import MARK, Backbone, DenseNetwork, PillarEncoder, level_name, occupied
from mink_pd.export.pillars import pillar_rows
from mink_pd.export.runner import make_canvas, torch_runner
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.sparse import Voxels, reached_sites, strided_sites
from mink_pd.sparse.kernel_map import coordinates_of

CONFIGS = {
    "pointpillars": pointpillars(),
    "dense": pointpillars(bev="dense"),
    "published slots": pointpillars(max_points=4, empty_slots=True),
    "bounded": pointpillars(max_points=4),
    "strides 1 2 2": pointpillars(strides=[1, 2, 2]),
    "strides 4 2 1": pointpillars(strides=[4, 2, 1]),
    "pyramid": nuscenes(),
    "dense pyramid": nuscenes(bev="dense"),
    "second": second(),
    "dense second": second(bev="dense"),
}


def run(config: Config, frame_seed: int = 0) -> tuple[AnchorDetector, Voxels, dict[str, torch.Tensor]]:
    """A detector, voxels of a cloud, and the dense network's maps of them."""
    detector = shaken(config)
    assert isinstance(detector, AnchorDetector)
    voxels = detector.shared_input(collate([clusters(config, frame_seed)], detector.classes))
    pillars = detector.encoder.dimensions == 2
    encoder = PillarEncoder(detector.encoder, config.model.bev == "sparse").eval() if pillars else None
    runner = torch_runner(encoder, DenseNetwork(detector.bev, AnchorMaps(detector.head)).eval())
    canvas = make_canvas(detector, runner, voxels, slots=config.model.max_points or 8)
    return detector, voxels, {"canvas": canvas} | runner.network(canvas)


def at(image: torch.Tensor, coordinates: torch.Tensor, stride: int) -> torch.Tensor:
    _, x, y = (coordinates.long() // stride).t()
    return image[0, :, y, x].t()


@torch.no_grad()
@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_stage_at_every_site(name: str) -> None:
    config = CONFIGS[name]
    detector, voxels, maps = run(config)
    encoded, columns = detector.encoder.encode(voxels)
    features = detector.bev(encoded, columns)
    stages = [("canvas", encoded)] + [(f"bev{i + 1}", stage) for i, stage in enumerate(features.stages)]
    for stage, tensor in stages:
        stride = tensor.tensor_stride[0]
        torch.testing.assert_close(at(maps[stage], tensor.C, stride), tensor.F, atol=1e-5, rtol=1e-5)
        if config.model.bev == "sparse":
            assert int(occupied(maps[stage]).sum()) <= len(tensor.C) < maps[stage][0, 0].numel()
    for number, level in enumerate(features.levels, start=1):
        wanted = {"neck": level.cells} | dict(
            zip(("scores", "boxes", "directions", "velocities"), detector.head.outputs(level.cells), strict=False)
        )
        for stage, values in wanted.items():
            found = at(maps[level_name(stage, number)], level.coordinates, level.stride)
            torch.testing.assert_close(found, values, atol=1e-4, rtol=1e-5)
        predicted = maps[level_name("scores", number)][0, 0] > -100
        assert int(predicted.sum()) == len(level.coordinates)


@torch.no_grad()
@pytest.mark.parametrize("strides", [[2, 2, 2], [1, 2], [4, 2], [2, 1, 2]])
def test_masks_are_the_sites(strides: list[int]) -> None:
    """Max-pooling and repetition against MinkowskiEngine's strided sites and our grown ones."""
    detector, voxels, maps = run(pointpillars(strides=strides, channels=[8] * len(strides), layers=[0] * len(strides)))
    mask, key = occupied(maps["canvas"]), voxels.key
    network = Backbone(detector.bev)
    for stride in strides:
        mask = torch.nn.functional.max_pool2d(mask, stride, stride) if stride > 1 else mask
        key = strided_sites(voxels.manager, key, [stride] * 2)
        assert places(mask) == sites(voxels, key)
    last = reached_sites(voxels, key, [network.factors[-1]] * 2, [strides[0]] * 2)
    grown = network(maps["canvas"])[2][0]
    assert grown is not None
    assert places(grown) == sites(voxels, last)


def places(mask: torch.Tensor) -> set[tuple[int, ...]]:
    return {(int(x), int(y)) for y, x in mask[0, 0].nonzero()}


def sites(voxels: Voxels, key) -> set[tuple[int, ...]]:  # type: ignore[no-untyped-def]
    step = key.get_tensor_stride()[0]
    return {(x // step, y // step) for _, x, y in coordinates_of(voxels.manager, key).tolist()}


@torch.no_grad()
def test_pillars_whose_features_are_all_zero_keep_their_site() -> None:
    config = pointpillars()
    detector = shaken(config)
    assert isinstance(detector, AnchorDetector)
    detector.encoder.norm.bias.data.fill_(-1.2)  # most pillars are dead after ReLU
    voxels = detector.shared_input(collate([clusters(config)], detector.classes))
    features = detector.encoder(voxels)
    dead = features.amax(dim=1) == 0
    assert 0.1 < float(dead.float().mean()) < 1
    encoder = PillarEncoder(detector.encoder, marks=True)
    runner = torch_runner(encoder, DenseNetwork(detector.bev, AnchorMaps(detector.head)))
    canvas = make_canvas(detector, runner, voxels, slots=4)
    assert int(occupied(canvas).sum()) == len(voxels)
    rows = at(canvas, voxels.coordinates, 1)
    assert torch.equal(rows[dead].amax(dim=1), torch.full((int(dead.sum()),), MARK))
    level = detector.bev(voxels.tensor(features), voxels).levels[0]
    found = at(runner.network(canvas)["scores"], level.coordinates, level.stride)
    torch.testing.assert_close(found, detector.head.outputs(level.cells)[0], atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_rows_of_a_crowded_pillar_join_in_the_scatter() -> None:
    config = pointpillars()
    detector = shaken(config)
    assert isinstance(detector, AnchorDetector)
    voxels = detector.shared_input(collate([clusters(config)], detector.classes))
    one, many = (pillar_rows(detector.encoder, voxels, slots) for slots in (None, 3))
    assert len(one) == len(voxels) < len(many)
    assert one.features.shape[1] == int(voxels.counts.max()) > 3
    assert torch.isclose(one.features.abs().sum(), many.features.abs().sum())


def test_odd_strides_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.strides \[2, 3\]"):
        run(pointpillars(strides=[2, 3], channels=[8, 8], layers=[0, 0]))
