"""Fills a scene: a street with traffic, rows of parked cars, pedestrians and street furniture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mink_pd.simulator.actors import draw_size
from mink_pd.simulator.clutter import facade, thicket
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.ground import Road, random_ground
from mink_pd.simulator.mesh import Mesh
from mink_pd.simulator.moving_scene import Footprints, Scene, Thing
from mink_pd.simulator.world import VARIED, World


@dataclass
class Region:
    """The part of the street that is filled with things."""

    start: float  # [m along the road]
    end: float  # [m along the road]
    camera_view: bool  # whether to fill only what the camera sees from the origin
    crowd: float = 1.0  # factor on the number of things
    path: float = 0.0  # length of the car's way along its lane [m], which stays free

    def contains(self, x: float, y: float) -> bool:
        """Whether the region includes the point x, y [m]."""
        return not self.camera_view or (x > 2.5 and abs(y) < 0.88 * x + 0.5)


FRAME = Region(3.0, 72.0, camera_view=True)


def drive_region(path: float) -> Region:
    """The region all around a car that drives ``path`` metres, as densely filled as a frame."""
    start, end = -50.0, path + 75.0
    return Region(start, end, camera_view=False, crowd=1.4 * (end - start) / 72, path=path)


# Speeds [m/s], our own lane first. All vehicles of a lane have one speed, so that they do not collide.
LANE_SPEEDS = (8.0, 8.0, 9.0, 7.0)


@dataclass
class Layout:
    """The street's cross-section [m to the left of the ego lane's middle]."""

    lanes: tuple[tuple[float, bool], ...]  # position, and whether its traffic is oncoming
    parking: tuple[float, float]
    parking_across: bool  # cars stand across the road, as in a car park
    pavements: tuple[tuple[float, float], tuple[float, float]]
    verges: tuple[tuple[float, float], tuple[float, float]]  # where trees, poles and boxes stand
    walls: tuple[float, float]
    green: float  # share of thickets among houses and thickets
    busy: float  # factor on pedestrians and cyclists


def random_layout(rng: Rng, world: World = VARIED) -> Layout:
    """A residential street, a city street, a wide road, or an open square."""
    kind = rng.choice(list(world.streets), p=list(world.streets.values()))
    lane, wide = rng.uniform(2.9, 3.6), kind in ("road", "city") and rng.random() < 0.5
    lanes: list[tuple[float, bool]] = [(0.0, False), (lane, True)]
    if kind == "residential" and rng.random() < 0.4:
        lanes = [(0.0, False)]  # a one-way street, in which parked cars are close
    if wide:
        lanes += [(-lane, False), (2 * lane, True)]
    left, right = max(n for n, _ in lanes) + lane / 2, min(n for n, _ in lanes) - lane / 2
    across = kind == "square" or rng.random() < world.across
    row = 2.6 if across else 1.1
    pavement, verge = rng.uniform(1.0, 3.2), row * 2 + 0.3
    outer = (right - verge - pavement, left + verge + pavement)
    back = {
        "residential": rng.uniform(0.3, 3),
        "city": rng.uniform(0.3, 2),
        "road": rng.uniform(1, 6),
        "square": rng.uniform(3, 12),
    }[str(kind)]
    return Layout(
        lanes=tuple(lanes),
        parking=(right - row, left + row),
        parking_across=across,
        pavements=((outer[0], right - verge), (left + verge, outer[1])),
        verges=((outer[0] - back, right - 0.6), (left + 0.6, outer[1] + back)),
        walls=(outer[0] - back - 1.0, outer[1] + back + 1.0),
        green={"residential": 0.35, "city": 0.1, "road": 0.85, "square": 0.5}[str(kind)],
        busy={"residential": 0.9, "city": 1.15, "road": 0.7, "square": 1.25}[str(kind)],
    )


def random_scene(rng: Rng, region: Region = FRAME, world: World = VARIED) -> Scene:
    """A street scene. No object intersects another object or the clutter."""
    road = Road(heading=rng.normal(0, 0.06), curvature=rng.normal(0, 0.0025))
    layout = random_layout(rng, world)
    lanes = [n for n, _ in layout.lanes]
    ground = random_ground(rng, road, (min(lanes) - 1.8, max(lanes) + 1.8), world.relief)
    filler = Filler(rng, road, layout, region, world)
    filler.fill()
    return Scene(ground, _grid(region), filler.things)


def _grid(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of the ground's mesh, closer together near the sensor."""
    stretch = np.linspace(0, 1, 28) ** 1.5
    if region.camera_view:
        return np.concatenate([[-1.0], 1 + 95 * stretch]), np.concatenate([-80 * stretch[:0:-1], 80 * stretch])
    return np.arange(region.start - 100, region.end + 100, 2.0), np.arange(-100.0, 101.0, 2.0)


class Filler:
    """Draws random things and keeps those that find a free position."""

    def __init__(self, rng: Rng, road: Road, layout: Layout, region: Region, world: World = VARIED) -> None:
        self.rng, self.road, self.layout, self.region, self.world = rng, road, layout, region, world
        self.things: list[Thing] = []
        self.taken = Footprints()
        if not region.camera_view:
            for s in np.arange(-3.0, region.path + 8.0, 4.0):  # keeps the car's own way free
                x, y, yaw = road.at(s, 0.0)
                self.taken.take(x, y, 3.7, 2.4, yaw)

    def fill(self) -> None:
        """Add all things, large ones first, as they need the most room."""
        self._walls()
        world, crowd, busy = self.world, self.region.crowd, self.layout.busy
        for _ in range(self._number(world.large)):
            self._vehicle(str(self.rng.choice(["Van", "Truck"], p=[0.65, 0.35])))
        left = self._number(world.cars * self.rng.uniform(0.5, 1.5))
        while left > 0:
            if self.rng.random() < 0.2:
                left -= self._parked_row(int(self.rng.integers(2, 5)))
            else:
                self._vehicle("Car")
                left -= 1
        left = self._number(world.pedestrians * busy * self.rng.uniform(0.4, 1.6))
        while left > 0:
            left -= self._group(int(self.rng.choice([1, 2, 3], p=[0.6, 0.27, 0.13])))
        for _ in range(self._number(world.cyclists * busy * self.rng.uniform(0.4, 1.6))):
            self._cyclist()
        kinds, shares = list(world.clutter), np.array([share for _, share in world.clutter.values()])
        wanted = int(self.rng.integers(*world.pieces) * crowd)
        for kind in self.rng.choice(kinds, 4 * wanted, p=shares / shares.sum()):
            wanted -= self._furniture(str(kind), world.clutter[str(kind)][0])
            if not wanted:
                break

    def _number(self, mean: float) -> int:
        return int(self.rng.poisson(mean * self.region.crowd))

    def _along(self) -> float:
        """A random position along the road [m]. Far ones are somewhat more likely because the view widens."""
        share = self.rng.random() ** self.world.nearness
        return float(self.region.start + (self.region.end - self.region.start) * share)

    def _actor(
        self,
        name: str,
        size: tuple[float, float, float],
        pose: tuple[float, float, float],
        speed: float = 0.0,
    ) -> bool:
        """Add an instance of a class at the pose x, y, yaw if it is free there. Only then is its mesh built."""
        x, y, yaw = pose
        if not self.region.contains(x, y) or not self.taken.take(x, y, size[0], size[1], yaw):
            return False
        mesh = self.world.build(self.rng, name, size)
        self.things.append(Thing(name, mesh, size, x, y, yaw, speed, labelled=True))
        return True

    def _walls(self) -> None:
        """Add houses and thickets with gaps on both sides of the street, and sometimes one across its end."""
        for n, turn in zip(self.layout.walls, (np.pi, 0.0), strict=True):
            s = self.region.start + self.rng.uniform(0, 4)
            while s < self.region.end:
                s += self._wall(s, n + self.rng.uniform(-0.5, 0.5), turn) + self.rng.choice([0.5, 2.0, 6.0])
            if self.rng.random() < 0.3:
                self._wall(self.region.end + 3, n * 0.5, np.pi / 2)

    def _wall(self, s: float, n: float, turn: float) -> float:
        """Add one house or thicket that begins s along the road, and return its length [m]."""
        green = self.rng.random() < self.layout.green
        mesh = thicket(self.rng) if green else facade(self.rng)
        length, depth, height = (float(v) for v in 2 * np.abs(mesh.vertices).max(0))
        x, y, yaw = self.road.at(s + length / 2, n)
        if self.rng.random() < 0.85 and self.taken.take(x, y, length, depth, yaw + turn):
            kind = "thicket" if green else "facade"
            self.things.append(Thing(kind, mesh, (length, depth, height), x, y, yaw + turn))
        return length

    def _vehicle(self, name: str) -> None:
        """Add a vehicle that drives, is parked or crosses the road. If the position is taken, try a second one."""
        size = draw_size(self.rng, name)
        for _ in range(3):
            s, kind = self._along(), self.rng.random()
            if kind < 0.4:
                lane = self.rng.integers(len(self.layout.lanes))
                n, oncoming = self.layout.lanes[lane]
                x, y, yaw = self.road.at(max(s, self.region.start + 5), n + self.rng.normal(0, 0.25))
                pose = (x, y, yaw + self.rng.normal(0, 0.04) + np.pi * oncoming)
                speed = LANE_SPEEDS[lane] if self.rng.random() < 0.8 else 0.0
            elif kind < 1 - self.world.crossing:
                pose, speed = self._parked(s, int(self.rng.integers(2))), 0.0
            else:
                x, y, yaw = self.road.at(s, self.rng.uniform(-14, 16))
                pose, speed = (
                    (x, y, yaw + self.rng.choice([-1, 1]) * np.pi / 2 + self.rng.normal(0, 0.3)),
                    0.0,
                )
            if self._actor(name, size, pose, speed):
                return

    def _parked(self, s: float, side: int) -> tuple[float, float, float]:
        n = self.layout.parking[side] + self.rng.normal(0, 0.15)
        x, y, yaw = self.road.at(s, n)
        yaw += np.pi * self.rng.integers(2) + self.rng.normal(0, 0.05)
        return x, y, yaw + (np.pi / 2 if self.layout.parking_across else 0.0)

    def _parked_row(self, count: int) -> int:
        s, side = self._along(), int(self.rng.integers(2))
        for _ in range(count):
            size = draw_size(self.rng, "Car")
            self._actor("Car", size, self._parked(s, side))
            s += (size[1] if self.layout.parking_across else size[0]) + self.rng.uniform(0.5, 1.3)
        return count

    def _group(self, count: int) -> int:
        """Add people who walk side by side on a pavement or across the road, or stand together."""
        s, kind = self._along() * 0.95, self.rng.random()
        side = self.rng.integers(2)
        n = self.rng.uniform(*self.layout.pavements[side]) if kind < 0.65 else self.rng.uniform(-10, 11)
        x, y, yaw = self.road.at(s, n)
        if kind < 0.65:
            yaw += np.pi * self.rng.integers(2)
        else:
            yaw += self.rng.uniform(-np.pi, np.pi)
        for member in range(count):
            gap = member * self.rng.uniform(0.8, 1.2) + self.rng.normal(0, 0.1)
            pose = (
                x - gap * np.sin(yaw) + self.rng.normal(0, 0.2),
                y + gap * np.cos(yaw) + self.rng.normal(0, 0.2),
                yaw + self.rng.normal(0, 0.25),
            )
            self._actor("Pedestrian", draw_size(self.rng, "Pedestrian"), pose, 1.3)
        return count

    def _cyclist(self) -> None:
        size = draw_size(self.rng, "Cyclist")
        for _ in range(2):
            side = int(self.rng.integers(2))
            edge = self.layout.pavements[side][1 - side]
            n, across = edge + self.rng.normal(0, 1.5), self.rng.random() < 0.2
            x, y, yaw = self.road.at(self._along() * 0.95, self.rng.uniform(-8, 9) if across else n)
            yaw += self.rng.normal(0, 0.12) + (np.pi * side if self.rng.random() < 0.8 else np.pi * (1 - side))
            if self._actor("Cyclist", size, (x, y, yaw + np.pi / 2 * across), 4.0):
                return

    def _furniture(self, kind: str, make: Callable[[Rng], Mesh]) -> bool:
        n = self.rng.uniform(*self.layout.verges[int(self.rng.integers(2))])
        # Nearer than traffic, as distant furniture is hidden or hardly visible.
        share = self.rng.random() ** (1.3 if self.region.camera_view else 1.0)
        x, y, yaw = self.road.at(self.region.start + (self.region.end - self.region.start) * share, n)
        if not self.region.contains(x, y):
            return False
        yaw += self.rng.normal(0, 0.1) if kind in ("hedge", "fence", "skip") else self.rng.uniform(0, 2 * np.pi)
        mesh = make(self.rng)
        # The footprint is symmetric about the origin and covers the mesh, so that the thing can be rotated.
        length, width, height = (float(v) for v in 2 * np.abs(mesh.vertices).max(0))
        if kind == "tree":  # people and cars may stand below a crown
            length = width = 0.8
        if not self.taken.take(x, y, length, width, yaw):
            return False
        self.things.append(Thing(kind, mesh, (length, width, height), x, y, yaw))
        return True
