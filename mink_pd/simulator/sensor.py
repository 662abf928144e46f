"""A spinning LiDAR: its rays, and which of them return with what range and intensity; and KITTI's HDL-64E."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import open3d as o3d

from mink_pd.boxes.geometry import corners
from mink_pd.config.sensor import SensorConfig
from mink_pd.data.kitti.projection import in_camera_view
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.moving_scene import Snapshot
from mink_pd.simulator.optics import OPTICS, Optics
from mink_pd.simulator.rig import HDL64E, IMAGE_SIZE, calibration

AZIMUTH_STEP = np.radians(HDL64E.azimuth_step)
MAX_RANGE = HDL64E.range  # largest range in KITTI's scans [m]
_SINES = np.sort(np.sin(HDL64E.elevations()))  # of the lasers' elevations
_HEIGHTS = np.unique(HDL64E.origins())  # of the lasers above the LiDAR frame's origin [m]
_REACH = 50.0 / MAX_RANGE  # share of the range at which a white wall gives a signal of 1


@dataclass
class Scan:
    """The points of one turn, and how many rays reach each thing."""

    points: np.ndarray  # (P, 4) float32
    owner: np.ndarray  # (P,) int64, the number of the thing that each point lies on; -1: ground
    reached: np.ndarray  # (N,) int64, rays inside the image that hit thing i first; 0 without camera view
    possible: np.ndarray  # (N,) int64, rays inside the image that would hit thing i if it were alone, likewise


def cast_by(sensor: SensorConfig) -> np.ndarray:
    """Origin and unit vector float64 (L, A, 6) of each ray of a turn in the LiDAR frame, by beam (L) and azimuth (A).

    The turn starts behind the sensor. Each beam has its own azimuth offset.
    """
    step = np.radians(sensor.azimuth_step)
    azimuth = np.arange(0, 2 * np.pi - step / 2, step) - np.pi
    elevation = sensor.elevations()
    offset = np.random.default_rng(64).uniform(0, step, len(elevation))
    a, e = (
        azimuth[None, :] + offset[:, None],
        np.broadcast_to(elevation[:, None], (len(elevation), len(azimuth))),
    )
    rays = np.zeros((*a.shape, 6))
    rays[..., 2] = sensor.origins()[:, None]
    rays[..., 3:] = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1)
    return rays


@lru_cache(maxsize=2)
def beams(camera_view: bool) -> np.ndarray:
    """Origin and unit vector float32 (R, 6) of the rays of KITTI's LiDAR, ordered by beam.

    camera_view: only the rays that may hit something inside the image.
    """
    rays = cast_by(HDL64E).reshape(-1, 6)
    if camera_view:
        # The camera is 0.3 m from the LiDAR, so the projection of a ray's point depends on its range. One degree is
        # added on each side because a turn may start up to one step later.
        ends = [rays[:, :3] + length * rays[:, 3:] for length in (2.5, 10.0, MAX_RANGE)]
        rays = rays[np.any([in_image(turned(end, turn)) for end in ends for turn in (-0.02, 0, 0.02)], axis=0)]
    return rays.astype(np.float32)


def in_image(points: np.ndarray) -> np.ndarray:
    """Mask (P,) of the points (P, 3) in the LiDAR frame that the camera sees."""
    return in_camera_view(points, calibration(), IMAGE_SIZE)


def scan(snapshot: Snapshot, rng: Rng, camera_view: bool = True, optics: Optics = OPTICS) -> Scan:
    """One turn of KITTI's LiDAR. With ``camera_view`` only points that the camera sees are returned."""
    rays = beams(camera_view).copy()
    rays[:, 3:] = turned(rays[:, 3:], rng.uniform(0, AZIMUTH_STEP))  # random start of the turn
    mesh, count = snapshot.mesh, len(snapshot.boxes)
    hits = caster(mesh.vertices, mesh.triangles).cast_rays(to_tensor(rays), nthreads=1)
    distance = hits["t_hit"].numpy()
    hit = np.flatnonzero(distance < MAX_RANGE)
    distance, triangle = distance[hit], hits["primitive_ids"].numpy()[hit].astype(np.int64)
    origin, direction, owner = rays[hit, :3], rays[hit, 3:], snapshot.owner[triangle]
    on_thing = np.flatnonzero(owner >= 0)
    seen = on_thing[in_image(origin[on_thing] + direction[on_thing] * distance[on_thing, None])]
    cosine = np.abs(np.einsum("rc,rc->r", hits["primitive_normals"].numpy()[hit], direction))
    surface, reflectance = mesh.surface[triangle].astype(np.int64), mesh.reflectance[triangle]
    measured, intensity, kept = echo(rng, distance, cosine, surface, reflectance, optics=optics)
    if optics.has_peculiar_lasers:
        gain, bias, tilt = (values[laser_of(direction)] for values in optics.lasers(len(_SINES)))
        measured, intensity = measured + bias, in_steps(intensity * gain)
        direction = direction + tilt[:, None] * (0, 0, 1)  # the angles are small
    points = np.column_stack([origin + direction * measured[:, None], intensity]).astype(np.float32)
    kept &= in_image(points) if camera_view else True
    reached = np.bincount(owner[seen], minlength=count)
    possible = _possible(snapshot, rays) if camera_view else np.zeros(count, np.int64)
    return Scan(points[kept], owner[kept], reached, possible)


def echo(
    rng: Rng,
    distance: np.ndarray,
    cosine: np.ndarray,
    surface: np.ndarray,
    reflectance: np.ndarray,
    sensor: SensorConfig = HDL64E,
    optics: Optics = OPTICS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured range [m], intensity [0..1] and whether the echo was strong enough, each (R,)."""
    exponent, spread, lost, depth = optics.table[surface].T
    count = len(distance)
    measured = distance + rng.normal(0, sensor.range_noise, count) + depth * rng.exponential(1, count)
    brightness = reflectance * cosine**exponent
    signal = brightness * cosine * (_REACH * sensor.range / distance) ** 2
    kept = rng.random(count) < (1 - lost) * (1 - np.exp(-((signal / optics.weak_signal) ** optics.sharpness)))
    intensity = brightness * (1 + spread * rng.normal(0, 1, count)) + rng.normal(0, 0.02, count)
    # The sensor reports intensity in hundredths, and no echo below its threshold.
    intensity = in_steps(np.clip(intensity - 0.02, 0, 0.99))
    if optics.faint_signal is not None:
        intensity *= rng.random(count) * (1 + (optics.faint_signal / np.maximum(signal, 1e-6)) ** 4) < 1
    return measured, intensity, kept


def in_steps(intensity: np.ndarray) -> np.ndarray:
    """Intensities (R,) in [0..1], rounded down to hundredths."""
    return np.floor(intensity * 100) / 100


def laser_of(directions: np.ndarray) -> np.ndarray:
    """Number of the laser of KITTI's LiDAR, from the lowest, that sent each ray with the unit vector (R, 3)."""
    return np.searchsorted((_SINES[1:] + _SINES[:-1]) / 2, directions[:, 2])


def _possible(snapshot: Snapshot, rays: np.ndarray) -> np.ndarray:
    """Number of rays inside the image (N,) that would hit each labelled thing if it were alone.

    Each thing and the rays towards it are moved to a separate height, so that one cast serves all things.
    """
    lift = np.array([0, 0, 2.5 * MAX_RANGE])
    azimuth, elevation = np.arctan2(rays[:, 4], rays[:, 3]), np.arcsin(rays[:, 5])
    rows = np.flatnonzero(snapshot.labelled)
    towards = [np.flatnonzero(_towards(snapshot.boxes[row], azimuth, elevation)) for row in rows]
    level = np.repeat(np.arange(len(rows)), [len(chosen) for chosen in towards])
    if not len(level):
        return np.zeros(len(snapshot.boxes), np.int64)
    cast = rays[np.concatenate(towards)]
    lifted = cast.copy()
    lifted[:, 2] += level * lift[2]
    triangles = np.flatnonzero(np.append(snapshot.labelled, False)[snapshot.owner])  # -1, the ground: False
    corner = snapshot.mesh.triangles[triangles]  # (T, 3)
    height = np.searchsorted(rows, snapshot.owner[triangles])[:, None, None] * lift  # (T, 1, 3)
    vertices = (snapshot.mesh.vertices[corner] + height).reshape(-1, 3)
    alone = caster(vertices, np.arange(len(vertices)).reshape(-1, 3))
    distance = alone.cast_rays(to_tensor(lifted), nthreads=1)["t_hit"].numpy()
    met = distance < MAX_RANGE
    met[met] = in_image(cast[met, :3] + cast[met, 3:] * distance[met, None])
    return np.bincount(rows[level[met]], minlength=len(snapshot.boxes))


def _towards(box: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Mask (R,) of the rays, given by azimuth and elevation (R,), that may hit the box (7,)."""
    eight = corners(box[None])[0]
    distance = np.hypot(eight[:, 0], eight[:, 1])
    bearing = np.arctan2(box[1], box[0])
    spread = np.abs(np.arctan2(eight[:, 1], eight[:, 0]) - bearing).max()
    # The lasers are above the frame's origin, the lower block by less. A face may be nearer than all corners.
    cos, sin = np.cos(box[6]), np.sin(box[6])
    beside = np.abs([box[0] * cos + box[1] * sin, box[1] * cos - box[0] * sin]) - box[3:5] / 2
    reach = np.array([max(np.hypot(*np.maximum(beside, 0)), 0.5), distance.max()])
    heights = box[2] + np.array([-0.5, 0.5]) * box[5] - _HEIGHTS[:, None]
    levels = np.arctan2(heights[..., None], reach)  # (2 blocks, bottom and top, nearest and farthest)
    low, high = levels.min(), levels.max()
    return (np.abs(azimuth - bearing) <= spread) & (elevation >= low) & (elevation <= high)


def caster(vertices: np.ndarray, triangles: np.ndarray) -> o3d.t.geometry.RaycastingScene:
    """An Open3D scene for ray casting, of vertices (V, 3) and triangles (T, 3)."""
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(to_tensor(vertices.astype(np.float32)), to_tensor(triangles.astype(np.uint32)))
    return scene


def to_tensor(array: np.ndarray) -> o3d.core.Tensor:
    """The array as an Open3D tensor."""
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(array))


def turned(vectors: np.ndarray, angle: float) -> np.ndarray:
    """Vectors (V, 3) rotated by an angle [rad] about z."""
    cos, sin = np.cos(angle), np.sin(angle)
    return vectors @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], vectors.dtype)
