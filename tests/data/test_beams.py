"""Dropped beams against the rings that the simulated sensor wrote, and against counting by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mink_pd.config.data import AugmentConfig, BeamsConfig, FewerBeamsConfig
from mink_pd.config.sensor import SensorConfig, load_sensor
from mink_pd.data.frame import Frame
from mink_pd.data.loading.augment import augment
from mink_pd.data.loading.beams import Thinning, as_seen, beam_of, in_beams, kept_beams
from mink_pd.errors import ConfigError
from mink_pd.simulator.recorded_drives import DriveSettings, Turn, drive_turns, parse_classes

THINNED = {name: load_sensor(name).model_copy(update={"azimuth_step": 3.0}) for name in ("hdl64e", "vlp32c", "os1_128")}


def turn(sensor: SensorConfig) -> Turn:
    return next(drive_turns(DriveSettings(sensor, parse_classes(["car"]), scans=1, seed=2), 0))


@pytest.mark.parametrize("name", THINNED)
def test_beams_are_the_rings_of_the_sensor(name: str) -> None:
    scan = turn(THINNED[name])
    agree = beam_of(scan.points, THINNED[name]) == scan.ring
    # Where the two blocks of the HDL-64E cross, a point may lie on a beam of either.
    assert agree.mean() > (0.97 if name == "hdl64e" else 0.9999)


@pytest.fixture
def frame() -> Frame:
    """100 points on each of 64 beams that a unit sphere shows at the angles of the file."""
    sensor = load_sensor("hdl64e")
    rng = np.random.default_rng(0)
    azimuth, distance = rng.uniform(-np.pi, np.pi, (64, 100)), rng.uniform(20, 60, (64, 100))
    elevation = sensor.elevations()[:, None] + 0 * azimuth
    points = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1)
    points = points * distance[..., None] + np.array([0, 0, 1]) * sensor.origins()[:, None, None]
    number = np.repeat(np.arange(64), 100)[:, None]  # in place of the intensity
    return Frame("a", np.concatenate([points.reshape(-1, 3), number], axis=1).astype(np.float32))


def test_whole_beams_go_and_others_stay_whole(frame: Frame) -> None:
    shares = []
    for seed in range(40):
        thin = Thinning(dropped=BeamsConfig(sensor="hdl64e", keep=(0.25, 0.75)))(frame, np.random.default_rng(seed))
        per_beam = np.bincount(thin.points[:, 3].astype(int), minlength=64)
        whole = per_beam > 50
        assert (per_beam[whole] > 90).all()  # but for points between two beams of the two blocks
        shares.append(whole.mean())
    assert min(shares) >= 0.25
    assert max(shares) <= 0.75
    assert max(shares) - min(shares) > 0.3
    assert len(frame.points) == 6400  # the frame itself stays as it is


def test_a_fixed_share_and_one_beam_at_least(frame: Frame) -> None:
    half = Thinning(dropped=BeamsConfig(sensor="hdl64e", keep=(0.5, 0.5)))(frame, np.random.default_rng(1))
    assert len(half.points) == pytest.approx(3200, abs=60)
    one = Thinning(dropped=BeamsConfig(sensor="hdl64e", keep=(0.001, 0.001)))(frame, np.random.default_rng(1))
    assert 90 < len(one.points) < 110


def test_augmentation_drops_beams_where_it_is_told_to(frame: Frame) -> None:
    plain = augment(frame, AugmentConfig(), np.random.default_rng(3))
    thinned = AugmentConfig(beams=BeamsConfig(sensor="hdl64e", keep=(0.5, 0.5)))
    thin = augment(frame, thinned, np.random.default_rng(3))
    assert len(plain.points) == 6400
    assert len(thin.points) == pytest.approx(3200, abs=60)
    empty = augment(Frame("b", np.zeros((0, 4), np.float32)), thinned, np.random.default_rng(3))
    assert len(empty.points) == 0


def test_a_sensor_that_is_not_there_is_one_line(frame: Frame, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shipped configuration of this name"):
        Thinning(dropped=BeamsConfig(sensor=str(tmp_path / "mine.yaml")))(frame, np.random.default_rng(0))


@pytest.mark.parametrize("frame", ["000000", "000002"])
def test_beams_of_a_real_sensor_are_its_rings(shared: Callable[[str], Path], frame: str) -> None:
    """KITTI's files run ring by ring, from the highest one down; each begins ahead and goes round to the left."""
    path = shared("kitti_real") / "training" / "velodyne" / f"{frame}.bin"
    points = np.fromfile(path, np.float32).reshape(-1, 4)
    azimuth = np.mod(np.arctan2(points[:, 1], points[:, 0]), 2 * np.pi)
    ring = np.concatenate([[0], np.cumsum(np.abs(np.diff(azimuth)) > 3)])
    beam = beam_of(points, load_sensor("hdl64e"))
    counts = [np.bincount(beam[ring == number], minlength=64) for number in range(ring.max() + 1)]
    counts = [each for each in counts if each.sum() > 200]
    assert len(counts) == 64
    assert np.mean([each.max() / each.sum() for each in counts]) > 0.97
    assert len({int(each.argmax()) for each in counts}) > 60
    kept = in_beams(points, FewerBeamsConfig(sensor="hdl64e", keep=32))
    assert kept.mean() == pytest.approx(0.5, abs=0.03)


def test_every_second_and_every_fourth_beam_from_the_highest_down() -> None:
    whole, half, quarter = (kept_beams(FewerBeamsConfig(sensor="hdl64e", keep=keep)) for keep in (64, 32, 16))
    assert whole.all()
    elevations = load_sensor("hdl64e").elevations()
    down = sorted(range(64), key=lambda beam: -elevations[beam])
    assert sorted(np.flatnonzero(half)) == sorted(down[::2])
    assert sorted(np.flatnonzero(quarter)) == sorted(down[::4])
    some = np.flatnonzero(kept_beams(FewerBeamsConfig(sensor="vlp32c", keep=10)))
    assert len(some) == 10
    assert set(np.diff(sorted(some))) == {3, 4}
    with pytest.raises(ConfigError, match=r"'data\.beams\.keep': 33, but vlp32c has 32 beams"):
        kept_beams(FewerBeamsConfig(sensor="vlp32c", keep=33))


def test_the_students_points_are_marked_among_the_teachers(frame: Frame) -> None:
    half, quarter = (FewerBeamsConfig(sensor="hdl64e", keep=keep) for keep in (32, 16))
    rng = np.random.default_rng(0)
    alone = Thinning(quarter)(frame, rng)
    beams = np.flatnonzero(kept_beams(quarter))
    expected = frame.points[np.isin(beam_of(frame.points, load_sensor("hdl64e")), beams)]
    np.testing.assert_array_equal(alone.points, expected)
    for theirs in (None, half):
        both = Thinning(quarter, teacher=(theirs,))(frame, rng)
        seen_by_teacher = frame.points if theirs is None else frame.points[in_beams(frame.points, theirs)]
        np.testing.assert_array_equal(both.points, seen_by_teacher)
        np.testing.assert_array_equal(as_seen(both).points, expected)
    dropped = BeamsConfig(sensor="hdl64e", keep=(0.3, 0.3))
    at_random = Thinning(half, dropped, (None,))(frame, np.random.default_rng(4))
    assert len(at_random.points) == 6400
    both = Thinning(half)(Thinning(dropped=dropped)(frame, np.random.default_rng(4)), rng)
    np.testing.assert_array_equal(as_seen(at_random).points, both.points)


@pytest.mark.parametrize("student", [None, FewerBeamsConfig(sensor="hdl64e", keep=24)])
def test_beams_that_the_teacher_lacks_are_refused(student: FewerBeamsConfig | None) -> None:
    with pytest.raises(ConfigError, match=r"'data\.beams': the student sees .* 32 of hdl64e that its teacher sees"):
        Thinning(student, teacher=(FewerBeamsConfig(sensor="hdl64e", keep=32),))
