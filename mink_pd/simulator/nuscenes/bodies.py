"""Bodies of nuScenes' ten detection classes: the meshes that KITTI's classes lack, and the sizes of all."""

from collections.abc import Callable
from typing import NamedTuple

from mink_pd.simulator.actors import MARGIN, TYRE, car, cyclist, pedestrian, truck, van
from mink_pd.simulator.clutter import parked_bicycle
from mink_pd.simulator.draws import Rng, normal
from mink_pd.simulator.mesh import Mesh, Surface, blob, box, column, frustum, hoop, merge, tube

Statistics = tuple[float, float]  # mean and standard deviation [m]


class Body(NamedTuple):
    """A kind of object."""

    category: str  # of nuScenes; the devkit maps it to a detection class
    moving: str  # nuScenes' attribute in motion; empty for a class without attributes
    still: str  # attribute at rest, likewise
    size: tuple[Statistics, Statistics, Statistics]  # l, w, h
    build: Callable[[Rng], Mesh]

    def draw(self, rng: Rng) -> tuple[tuple[float, float, float], Mesh]:
        """Label size l, w, h [m] and mesh of a random instance. The mesh is smaller by the MARGIN of annotators."""
        length, width, height = (normal(rng, *statistics) for statistics in self.size)
        margin = min(MARGIN, 0.1 * min(length, width))
        mesh = self.build(rng).fitted(length - 2 * margin, width - 2 * margin, height - margin)
        return (length, width, height), mesh


def _wheel(x: float, y: float, radius: float, width: float = 0.3) -> Mesh:
    return tube((x, y - width / 2, radius), (x, y + width / 2, radius), (radius, radius), TYRE, 10)


def bus(rng: Rng) -> Mesh:
    """A city bus: one long box with a band of windows and a flat front."""
    paint = rng.uniform(0.1, 0.6)
    lower = box((-5.2, -1.4, 0.35), (5.2, 1.4, 1.3), paint, Surface.PAINT)
    windows = box((-5.15, -1.37, 1.3), (5.15, 1.37, 2.5), 0.05, Surface.GLASS)
    posts = [
        box((x - 0.12, -1.39, 1.3), (x + 0.12, 1.39, 2.5), paint, Surface.PAINT) for x in (-5.0, -3, -1, 1, 3, 5.0)
    ]
    roof = box((-5.2, -1.4, 2.5), (5.2, 1.4, 2.95), paint, Surface.PAINT)
    unit = box((-2.0, -0.8, 2.95), (0.5, 0.8, 3.2), rng.uniform(0.2, 0.6))  # air conditioning
    return merge(lower, windows, *posts, roof, unit, *(_wheel(x, y, 0.5) for x in (-3.2, 3.4) for y in (-1.2, 1.2)))


def trailer(rng: Rng) -> Mesh:
    """A semi-trailer: a high box, or a flat bed with a load, on a group of axles at its end."""
    colour = rng.uniform(0.2, 0.7)
    bed = box((-6.1, -1.25, 1.0), (6.1, 1.25, 1.25), 0.15)
    if rng.random() < 0.7:
        load = [box((-6.1, -1.3, 1.2), (6.1, 1.3, 3.9), colour)]
    else:
        ends = sorted(rng.uniform(-5.5, 5.5, 2))
        load = [box((ends[0], -1.2, 1.25), (ends[1] + 0.5, 1.2, rng.uniform(2.0, 3.9)), colour)]
        load.append(box((6.0, -1.25, 1.25), (6.1, 1.25, 3.9), colour))  # front wall
    legs = [box((3.2, y - 0.08, 0.0), (3.4, y + 0.08, 1.0), 0.2) for y in (-0.8, 0.8)]
    return merge(bed, *load, *legs, *(_wheel(x, y, 0.5) for x in (-5.0, -3.8, -2.6) for y in (-1.05, 1.05)))


def excavator(rng: Rng) -> Mesh:
    """An excavator on tracks, or a wheel loader: cab, engine and an arm with its bucket."""
    paint = rng.uniform(0.4, 0.8)
    reach = rng.uniform(2.4, 3.4)
    if rng.random() < 0.5:
        tracks = [box((-1.7, y - 0.3, 0.0), (1.7, y + 0.3, 0.9), 0.08) for y in (-1.05, 1.05)]
        body = [
            box((-1.9, -1.3, 0.95), (1.3, 1.3, 2.0), paint),
            box((-0.2, 0.3, 2.0), (1.3, 1.3, 3.0), 0.05, Surface.GLASS),
        ]
        joint, low = (reach, 0.0, 3.2), (reach + 0.9, 0.0, 1.0)
        arm = [tube((0.8, 0.0, 1.8), joint, (0.3, 0.2), paint, 4), tube(joint, low, (0.2, 0.15), paint, 4)]
        bucket = box((reach + 0.3, -0.6, 0.3), (reach + 1.2, 0.6, 1.1), 0.1)
        return merge(*tracks, *body, *arm, bucket)
    wheels = [_wheel(x, y, 0.75, 0.5) for x in (-1.7, 1.4) for y in (-1.0, 1.0)]
    body = [
        frustum((-3.0, -0.6, -1.0, 1.0), (-2.7, -0.6, -0.8, 0.8), 0.8, 2.0, paint),
        box((-0.6, -0.8, 1.0), (0.8, 0.8, 3.2), 0.05, Surface.GLASS),
        box((0.8, -0.5, 0.8), (2.2, 0.5, 1.5), paint),
    ]
    arm = [tube((1.2, y, 1.4), (reach, y, 0.7), (0.15, 0.15), paint, 4) for y in (-0.5, 0.5)]
    return merge(*wheels, *body, *arm, box((reach - 0.2, -1.3, 0.1), (reach + 0.7, 1.3, 1.1), 0.15))


def motorcycle(rng: Rng) -> Mesh:
    """A motorcycle or scooter: thick wheels, a closed body, a seat, a handlebar."""
    paint = rng.uniform(0.05, 0.5)
    wheels = [hoop((x, 0.0, 0.3), 0.3, 0.07, TYRE) for x in (-0.7, 0.7)]
    body = frustum((-0.55, 0.45, -0.2, 0.2), (-0.75, 0.3, -0.14, 0.14), 0.25, 0.85, paint, Surface.PAINT)
    fork = tube((0.7, 0.0, 0.3), (0.45, 0.0, 1.0), (0.06, 0.06), 0.4, 5)
    bar = tube((0.4, -0.38, 1.05), (0.4, 0.38, 1.05), (0.03, 0.03), 0.3, 5)
    lamp = box((0.48, -0.1, 0.85), (0.6, 0.1, 1.0), 0.7)
    return merge(*wheels, body, fork, bar, lamp)


def motorcyclist(rng: Rng) -> Mesh:
    """A motorcycle with its rider, upright, helmet on."""
    cloth = rng.uniform(0.04, 0.4)
    torso = column([0.8, 1.1, 1.35, 1.45], [(0.15, 0.17), (0.15, 0.2), (0.14, 0.22), (0.06, 0.08)], cloth)
    torso.vertices[:, 0] -= 0.25
    parts = [motorcycle(rng), torso, blob((-0.2, 0.0, 1.6), (0.15, 0.13, 0.15), rng.uniform(0.05, 0.6))]
    for side in (-1, 1):
        parts.append(tube((-0.25, side * 0.12, 0.85), (0.15, side * 0.25, 0.7), (0.1, 0.08), 0.1))
        parts.append(tube((0.15, side * 0.25, 0.7), (0.0, side * 0.25, 0.25), (0.08, 0.06), 0.1))
        parts.append(tube((-0.22, side * 0.2, 1.38), (0.38, side * 0.35, 1.05), (0.06, 0.05), cloth, 5))
    return merge(*parts)


def traffic_cone(rng: Rng) -> Mesh:
    """A cone on a square foot, with a retroreflective sleeve."""
    foot = box((-0.2, -0.2, 0.0), (0.2, 0.2, 0.06), 0.1)
    cone = column([0.05, 0.45, 0.75, 1.0], [(0.16, 0.16), (0.1, 0.1), (0.06, 0.06), (0.03, 0.03)], 0.3, 8)
    sleeve = column([0.5, 0.7], [(0.1, 0.1), (0.075, 0.075)], 0.95, 8)
    return merge(foot, cone, sleeve)


def barrier(rng: Rng) -> Mesh:
    """An element of a barrier: a concrete wall with a wide foot, or a fence of boards. It faces +x and extends along
    y."""
    if rng.random() < 0.6:
        foot = frustum((-0.3, 0.3, -1.25, 1.25), (-0.12, 0.12, -1.25, 1.25), 0.0, 0.4, 0.4)
        return merge(foot, frustum((-0.12, 0.12, -1.25, 1.25), (-0.08, 0.08, -1.25, 1.25), 0.4, 1.0, 0.4))
    boards = [box((-0.03, -1.25, z), (0.03, 1.25, z + 0.22), 0.8) for z in (0.35, 0.78)]
    feet = [box((-0.3, y - 0.06, 0.0), (0.3, y + 0.06, 0.08), 0.1) for y in (-1.0, 1.0)]
    posts = [box((-0.05, y - 0.05, 0.0), (0.05, y + 0.05, 1.0), 0.3) for y in (-1.0, 1.0)]
    return merge(*boards, *feet, *posts)


def _car_or_van(rng: Rng) -> Mesh:
    return van(rng) if rng.random() < 0.12 else car(rng)


_VEHICLE = ("vehicle.moving", "vehicle.parked")
_RIDDEN, _PARKED = ("cycle.with_rider",) * 2, ("cycle.without_rider",) * 2

# The means of l, w, h are close to those of nuScenes' labels (the anchor sizes of Zhu et al. 2019).
BODIES = {
    "car": Body("vehicle.car", *_VEHICLE, ((4.63, 0.3), (1.97, 0.1), (1.74, 0.12)), _car_or_van),
    "truck": Body("vehicle.truck", *_VEHICLE, ((6.93, 1.2), (2.51, 0.2), (2.84, 0.4)), truck),
    "bus": Body("vehicle.bus.rigid", "vehicle.moving", "vehicle.stopped", ((10.5, 1.0), (2.94, 0.1), (3.47, 0.2)), bus),
    "trailer": Body("vehicle.trailer", *_VEHICLE, ((12.29, 1.0), (2.90, 0.1), (3.87, 0.2)), trailer),
    "construction_vehicle": Body("vehicle.construction", *_VEHICLE, ((6.37, 0.6), (2.85, 0.2), (3.19, 0.3)), excavator),
    "pedestrian": Body(
        "human.pedestrian.adult",
        "pedestrian.moving",
        "pedestrian.standing",
        ((0.73, 0.15), (0.67, 0.1), (1.77, 0.1)),
        pedestrian,
    ),
    "motorcyclist": Body("vehicle.motorcycle", *_RIDDEN, ((2.11, 0.12), (0.77, 0.06), (1.72, 0.08)), motorcyclist),
    "motorcycle": Body("vehicle.motorcycle", *_PARKED, ((2.11, 0.12), (0.77, 0.06), (1.2, 0.06)), motorcycle),
    "cyclist": Body("vehicle.bicycle", *_RIDDEN, ((1.70, 0.1), (0.60, 0.06), (1.72, 0.08)), cyclist),
    "bicycle": Body("vehicle.bicycle", *_PARKED, ((1.70, 0.1), (0.60, 0.06), (1.05, 0.05)), parked_bicycle),
    "traffic_cone": Body(
        "movable_object.trafficcone", "", "", ((0.41, 0.03), (0.41, 0.03), (1.07, 0.08)), traffic_cone
    ),
    "barrier": Body("movable_object.barrier", "", "", ((0.50, 0.05), (2.53, 0.1), (0.98, 0.05)), barrier),
}
