"""A simulated raw drive in the layout of KITTI's raw data, as ``pykitti.raw`` reads it."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.moving_scene import Footprints, Scene
from mink_pd.simulator.rig import IMU_TO_VELO, raw_calibration_lines
from mink_pd.simulator.sensor import scan
from mink_pd.simulator.street import LANE_SPEEDS, drive_region, random_scene
from mink_pd.simulator.world import DEFAULT_WORLD, world_named

DATE, DRIVE = "2011_09_26", "0001"
PERIOD = 0.1  # between scans [s]
SPEED = LANE_SPEEDS[0]  # of the car [m/s]
EARTH_RADIUS = 6378137.0  # [m], the value in pykitti
START = (49.0, 8.43)  # latitude, longitude of the first pose [degrees]
ORIGIN_TIME = datetime(2011, 9, 26, 13, 2, 25)


def write_drive(base: Path, seed: int, count: int, world: str = DEFAULT_WORLD) -> Iterator[Path]:
    """Write ``count`` full scans of a car that drives through one street; yields each scan's file.

    ``pykitti.raw(base, DATE, DRIVE)`` loads the drive. It has the cameras' time stamps, but no images.
    """
    rng, kind = frame_rng(seed, 0, stream=1), world_named(world)
    scene = random_scene(rng, drive_region(SPEED * PERIOD * count), kind)
    poses = [_pose(scene, i * PERIOD) for i in range(count)]
    stop_collisions(scene, {i * PERIOD: pose for i, pose in enumerate(poses)})
    folder = base / DATE / f"{DATE}_drive_{DRIVE}_sync"
    for part in ("velodyne_points/data", "oxts/data", *(f"image_{camera:02d}/data" for camera in range(4))):
        (folder / part).mkdir(parents=True)
    for name, text in raw_calibration_lines().items():
        (base / DATE / name).write_text(text)
    _write_stamps(folder, count)
    for index, pose in enumerate(poses):
        result = scan(scene.snapshot(index * PERIOD, pose), rng, camera_view=False, optics=kind.optics)
        path = folder / "velodyne_points" / "data" / f"{index:010d}.bin"
        result.points.tofile(path)
        packet = oxts_packet(velo_pose(scene, pose))
        (folder / "oxts" / "data" / f"{index:010d}.txt").write_text(packet)
        yield path


def _write_stamps(folder: Path, count: int) -> None:
    stamps = "".join(
        (ORIGIN_TIME + timedelta(seconds=i * PERIOD)).strftime("%Y-%m-%d %H:%M:%S.%f") + "000\n" for i in range(count)
    )
    for part in ("velodyne_points", "oxts", *(f"image_{camera:02d}" for camera in range(4))):
        (folder / part / "timestamps.txt").write_text(stamps)


def velo_pose(scene: Scene, pose: tuple[float, float, float]) -> np.ndarray:
    """Transform (4, 4) from the LiDAR frame to the world frame for the car at x, y, yaw."""
    matrix = np.eye(4)
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:3, 3] = (pose[0], pose[1], scene.sensor_height(pose))
    return matrix


def oxts_packet(pose: np.ndarray) -> str:
    """The inertial unit's line of 30 numbers when the LiDAR is at ``pose`` (4, 4).

    Latitude and longitude invert the Mercator projection of KITTI's development kit.
    """
    velo_from_imu = np.eye(4)
    velo_from_imu[:3] = IMU_TO_VELO
    imu = pose @ velo_from_imu  # pose in the world frame: east, north, up
    scale = np.cos(np.radians(START[0]))
    x, y, z = imu[:3, 3]
    x0 = scale * EARTH_RADIUS * np.radians(START[1])
    y0 = scale * EARTH_RADIUS * np.log(np.tan(np.pi * (90 + START[0]) / 360))
    longitude = np.degrees((x + x0) / (scale * EARTH_RADIUS))
    latitude = np.degrees(2 * np.arctan(np.exp((y + y0) / (scale * EARTH_RADIUS)))) - 90
    roll, pitch = np.arctan2(imu[2, 1], imu[2, 2]), np.arcsin(-imu[2, 0])
    yaw = np.arctan2(imu[1, 0], imu[0, 0])
    values = [latitude, longitude, z, roll, pitch, yaw, SPEED * np.sin(yaw), SPEED * np.cos(yaw), SPEED]
    values += [0.0, 0.0, 0.0, 0.0, 9.81, 0.0, 0.0, 9.81] + [0.0] * 6 + [0.05, 0.05]
    return " ".join(f"{value:.14g}" for value in values) + " 4 10 4 4 0\n"


def _pose(scene: Scene, time: float) -> tuple[float, float, float]:
    """Pose x, y, yaw of the car, which follows its lane. The world frame is the LiDAR frame at time 0, moved to the
    ground."""
    road = scene.ground.road
    x, y, heading = road.at(SPEED * time, 0.0)
    return x, y, heading


def stop_collisions(scene: Scene, poses: Mapping[float, tuple[float, float, float]]) -> None:
    """Stop every actor that would collide with another actor or with the car.

    poses: time [s] -> x, y, yaw of the car; these times are checked.
    """
    while True:
        stopped = False
        for time, ego in poses.items():
            taken = Footprints(gap=0.05)
            taken.take(ego[0], ego[1], 4.6, 2.0, ego[2])
            order = sorted(scene.things, key=lambda thing: thing.speed > 0)  # parked things come first and stay
            for thing in order:
                x, y, yaw = thing.at(time)
                if not taken.take(x, y, *thing.size[:2], yaw) and thing.speed:
                    thing.speed, stopped = 0.0, True
        if not stopped:
            return
