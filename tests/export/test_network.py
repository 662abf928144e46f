"""The dense networks against the detectors' own sparse layers, site by site."""

import pytest
import torch
from export.conftest import clusters, shaken
from models.frames import centerpoint, centerpoint_nuscenes, centerpoint_voxels, nuscenes, pointpillars, second

from mink_pd.config import Config
from mink_pd.data.loading.batch import collate
from mink_pd.errors import ConfigError
from mink_pd.export.heads import head_maps
from mink_pd.export.network import MARK, Backbone, DenseNetwork, PillarEncoder, level_name, occupied
from mink_pd.export.pillars import pillar_rows
from mink_pd.export.runner import make_canvas, prediction_of, torch_runner
from mink_pd.export.verify import in_order
from mink_pd.models.bev_detector import BevDetector
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
    "neck at stage 2": pointpillars(neck_stage=2),
    "dense neck at stage 3": pointpillars(neck_stage=3, bev="dense"),
    "pillar layers": pointpillars(pillar_layers=[8, 12], max_points=6),
    "pillar layers, slots": pointpillars(pillar_layers=[8], max_points=6, empty_slots=True),
    "few columns": pointpillars(intensity=False, centre_height=False),
    "second": second(),
    "centre": centerpoint(),
    "dense centre": centerpoint(bev="dense"),
    "tasks": centerpoint_nuscenes(),
    "dense tasks": centerpoint_nuscenes(bev="dense"),
    "centre of voxels": centerpoint_voxels(),
    "dense second": second(bev="dense"),
}


def run(config: Config, frame_seed: int = 0) -> tuple[BevDetector, Voxels, dict[str, torch.Tensor]]:
    """A detector, voxels of a cloud, and the dense network's maps of them."""
    detector = shaken(config)
    assert isinstance(detector, BevDetector)
    voxels = detector.shared_input(collate([clusters(config, frame_seed)], detector.classes))
    pillars = detector.encoder.dimensions == 2
    encoder = PillarEncoder(detector.encoder, config.model.bev == "sparse").eval() if pillars else None
    runner = torch_runner(encoder, DenseNetwork(detector.bev, head_maps(detector)).eval())
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
        found = at(maps[level_name("neck", number)], level.coordinates, level.stride)
        torch.testing.assert_close(found, level.cells, atol=1e-4, rtol=1e-5)
    head = head_maps(detector)
    read, found = detector.read(features, columns), prediction_of(head, detector, maps, columns)
    assert len(read.frame) == len(found.frame)
    assert len(read.frame) < sum(m[0, 0].numel() for n, m in maps.items() if n.startswith("neck")) or "dense" in name
    rows = in_order(features)
    for field in ("scores", "boxes", "directions", "velocities", "ious", "anchors", "corners"):
        if getattr(read, field, None) is not None:
            torch.testing.assert_close(getattr(found, field), getattr(read, field)[rows], atol=1e-4, rtol=1e-5)


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
    assert isinstance(detector, BevDetector)
    detector.encoder.norm.bias.data.fill_(-1.2)  # most pillars are dead after ReLU
    voxels = detector.shared_input(collate([clusters(config)], detector.classes))
    features = detector.encoder(voxels)
    dead = features.amax(dim=1) == 0
    assert 0.1 < float(dead.float().mean()) < 1
    encoder = PillarEncoder(detector.encoder, marks=True)
    runner = torch_runner(encoder, DenseNetwork(detector.bev, head_maps(detector)))
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
    assert isinstance(detector, BevDetector)
    voxels = detector.shared_input(collate([clusters(config)], detector.classes))
    one, many = (pillar_rows(detector.encoder, voxels, slots) for slots in (None, 3))
    assert len(one) == len(voxels) < len(many)
    assert one.features.shape[1] == int(voxels.counts.max()) > 3
    assert torch.isclose(one.features.abs().sum(), many.features.abs().sum())


def test_odd_strides_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.strides \[2, 3\]"):
        run(pointpillars(strides=[2, 3], channels=[8, 8], layers=[0, 0]))
