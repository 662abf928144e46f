"""The world "street" against real KITTI frames and published figures; and what makes a world reproducible."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.streets import Street, dark_cars, dark_road, upper_echoes
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.errors import ConfigError, DataError
from mink_pd.simulator import Settings, simulate, simulate_frame
from mink_pd.simulator.cars import street_car
from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.mesh import Surface
from mink_pd.simulator.optics import OPTICS, RESPONSES, Optics
from mink_pd.simulator.rig import IMAGE_SIZE
from mink_pd.simulator.sensor import echo, laser_of, scan
from mink_pd.simulator.street import random_scene
from mink_pd.simulator.world import STREET, WORLDS, world_named

FRAMES = 24


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Street]:
    """Frames of each world, read as KITTI."""
    result = {}
    for world in WORLDS:
        root = tmp_path_factory.mktemp("worlds") / world
        simulate(root, Settings(train=FRAMES, val=0, seed=5, world=world))
        result[world] = Street(Kitti(root, "train", image_size=IMAGE_SIZE))
    return result


@pytest.fixture
def real(shared: Callable[[str], Path]) -> Street:
    """Real frames: half of the training part of the first fold, since the judged part tunes nothing."""
    root = shared("kitti_real")
    names = (root / "ImageSets" / "fold0_train.txt").read_text().split()
    return Street(Kitti(root, names[::2], image_size=IMAGE_SIZE))


# -- as real frames


def test_cars_have_kittis_mean_size(simulated: dict[str, Street]) -> None:
    sizes = simulated["street"].labels("Car")[:, 3:6]
    published = np.array([3.88, 1.63, 1.53])  # mean l, w, h over the benchmark's training labels
    assert (np.abs(sizes.mean(0) - published) < 4 * sizes.std(0) / len(sizes) ** 0.5).all()


def test_the_road_slopes_as_the_tilted_sensor_sees_it(simulated: dict[str, Street], real: Street) -> None:
    measured, street = real.planes, simulated["street"].planes
    assert abs(measured[:, 0].mean() + 1.73) < 0.03  # the published height of the sensor
    assert abs(street[:, 0].mean() + 1.73) < 0.03
    error = (measured.var(0) / len(measured) + street.var(0) / len(street)) ** 0.5
    assert (np.abs(measured.mean(0) - street.mean(0)) < 3 * error)[1:].all()
    assert measured[:, 1].mean() > 0.004  # the mean slope of the default world is 0


def test_dark_points_are_as_frequent_as_in_real_frames(simulated: dict[str, Street], real: Street) -> None:
    for share in (dark_road, dark_cars):
        wanted, street, varied = (share(frames) for frames in (real, simulated["street"], simulated["varied"]))
        assert abs(street - wanted) < 0.6 * abs(varied - wanted)


def test_few_echoes_come_from_distant_windows(simulated: dict[str, Street], real: Street) -> None:
    far, street, varied = (upper_echoes(frames) for frames in (real, simulated["street"], simulated["varied"]))
    assert abs(street - far) < 0.7 * abs(varied - far)


# -- echoes


def test_faint_echoes_lose_their_intensity() -> None:
    optics, many = Optics(weak_signal=1e-9, faint_signal=0.05), 20_000
    for factor, share in ((2.0, 1 / 17), (1.0, 0.5), (0.5, 16 / 17)):
        # A wall straight ahead at the distance where its signal is `factor` times the faint one.
        distance = np.full(many, 50 / np.sqrt(factor * 0.05 / 0.5))
        surface, ones = np.full(many, int(Surface.MATT)), np.ones(many)
        _, intensity, kept = echo(np.random.default_rng(0), distance, ones, surface, 0.5 * ones, optics=optics)
        assert abs((intensity == 0).mean() - share) < 0.015
        assert abs(kept.mean() - (1 - RESPONSES[Surface.MATT].lost)) < 0.005  # it stays a point


def test_a_weak_laser_is_weak_in_every_frame() -> None:
    gain, bias, tilt = STREET.optics.lasers(64)
    assert 2 <= (gain < 1).sum() <= 16
    assert 0.01 < bias.std() < 0.03
    assert 0.0005 < tilt.std() < 0.0015
    assert all((a == b).all() for a, b in zip((gain, bias, tilt), STREET.optics.lasers(64), strict=True))
    for values, same in zip(OPTICS.lasers(64), (1, 0, 0), strict=True):
        assert (values == same).all()


def test_each_ray_is_told_its_laser() -> None:
    snapshot = random_scene(frame_rng(1, 0), world=STREET).snapshot()
    points = scan(snapshot, np.random.default_rng(0)).points[:, :3].astype(float)
    upper = np.degrees(np.arctan2(points[:, 2] - 0.16, np.hypot(points[:, 0], points[:, 1]))) > -8.66
    rays = points - np.column_stack([np.zeros((len(points), 2)), np.where(upper, 0.207, 0.12)])  # from the lasers
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    degrees, laser = np.degrees(np.arcsin(rays[:, 2])), laser_of(rays)
    wanted = np.concatenate([np.linspace(-24.9, -8.87, 32), np.linspace(-8.45, 2.0, 32)])  # of an HDL-64E, from below
    np.testing.assert_allclose(degrees, wanted[laser], atol=0.02)


# -- shape


def test_street_cars_are_rounder_than_their_boxes() -> None:
    """In real frames a point at the corner of a car lies 0.2 to 0.4 m deeper than one in the middle of its end."""
    for seed in range(10):
        mesh = street_car(np.random.default_rng(seed)).fitted(3.88, 1.63, 1.53)
        half = mesh.vertices[:, :2] / (1.94, 0.815)
        assert np.abs(half).max() == pytest.approx(1)
        corner = (np.abs(half[:, 0]) > 0.97) & (np.abs(half[:, 1]) > 0.9)
        assert not corner.any()


# -- reproducible


def test_a_frame_depends_on_the_world_too() -> None:
    one, again, other = (simulate_frame(7, 0, world) for world in ("street", "street", "varied"))
    assert one[0].points.tobytes() == again[0].points.tobytes()
    assert (one[1].location == again[1].location).all()
    assert one[0].points.tobytes() != other[0].points.tobytes()
    assert simulate_frame(7, 0)[0].points.tobytes() == other[0].points.tobytes()


def test_a_data_set_of_another_world_is_not_taken_for_this_one(tmp_path: Path) -> None:
    simulate(tmp_path / "kitti", Settings(train=1, val=0, drive=1, world="street"))
    assert simulate(tmp_path / "kitti", Settings(train=1, val=0, drive=1, world="street")) is None
    with pytest.raises(DataError, match=r"world street, not varied.*--force"):
        simulate(tmp_path / "kitti", Settings(train=1, val=0, drive=1))


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(ConfigError, match=r"there is no world 'moon'; choose one of varied, street"):
        world_named("moon")
