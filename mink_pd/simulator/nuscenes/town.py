"""Fills a street all around the car with the ten classes of nuScenes, at rest and in motion."""

from dataclasses import dataclass

import numpy as np

from mink_pd.simulator.clutter import SMALL
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.ground import Road, random_ground
from mink_pd.simulator.moving_scene import Scene, Thing
from mink_pd.simulator.nuscenes.bodies import BODIES, Body
from mink_pd.simulator.street import Filler, Layout, Region, drive_region, random_layout

# Mean number of attempts per 72 m of street in a scene; most find a free position.
DRIVING = {"car": 6.0, "truck": 0.8, "bus": 1.0, "trailer": 0.5, "motorcyclist": 1.6}
PARKED = {"car": 7.0, "truck": 0.6, "bus": 0.5, "trailer": 0.5, "motorcycle": 1.2, "bicycle": 0.8}
WALKING, RIDING, WORKS = 7.0, 1.5, 1.1
TRACTOR_GAP = 0.6  # between a trailer and the truck that pulls it [m]
WALKING_SPEED, RIDING_SPEED = 1.4, 4.0  # [m/s]


@dataclass(kw_only=True)
class Actor(Thing):
    """A labelled thing. In a lane it follows the road, elsewhere it moves straight ahead."""

    body: Body
    road: Road | None = None  # None: not in a lane
    s: float = 0.0  # position along the road at time 0 [m]
    n: float = 0.0  # position to the left of the road's middle [m]
    oncoming: bool = False  # whether it drives towards the car

    def at(self, time: float) -> tuple[float, float, float]:
        """x, y, yaw at a time [s]."""
        if self.road is None:
            return super().at(time)
        along = self.speed / (1 - self.n * self.road.curvature)  # the inner lane of a curve is shorter
        x, y, heading = self.road.at(self.s + (-along if self.oncoming else along) * time, self.n)
        return x, y, heading + np.pi * self.oncoming

    @property
    def attribute(self) -> str:
        """nuScenes' attribute. A vehicle at rest is stopped in a lane, and parked elsewhere."""
        if self.speed:
            return self.body.moving
        return "vehicle.stopped" if self.road is not None and self.body.still == "vehicle.parked" else self.body.still


@dataclass
class Town:
    """A scene and the car's speed [m/s] through it. The car follows the middle of its lane."""

    scene: Scene
    speed: float

    def ego(self, time: float) -> tuple[float, float, float]:
        """x, y, yaw of the car's rear axle at a time [s]."""
        return self.scene.ground.road.at(self.speed * time, 0.0)


def random_town(rng: Rng, seconds: float) -> Town:
    """A street along which the car drives for ``seconds`` at 2 to 11 m/s, or in which it stands."""
    speed = 0.0 if rng.random() < 0.15 else rng.uniform(2, 11)
    road = Road(heading=rng.uniform(-np.pi, np.pi), curvature=rng.normal(0, 0.0025))
    layout = random_layout(rng)
    lanes = [n for n, _ in layout.lanes]
    ground = random_ground(rng, road, (min(lanes) - 1.8, max(lanes) + 1.8))
    region = drive_region(speed * seconds)
    filler = _TownFiller(rng, road, layout, region, speed)
    filler.fill()
    return Town(Scene(ground, _nodes(road, speed * seconds), filler.things), speed)


def _nodes(road: Road, path: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes x (I,) and y (J,) of the ground's mesh [m], which covers the LiDAR's reach from everywhere on the path."""
    reach = path / 2 + 90
    x, y = (np.arange(middle - reach, middle + reach, 2.0) for middle in road.at(path / 2, 0.0)[:2])
    return x, y


class _TownFiller(Filler):
    """Adds traffic, parked vehicles, people and road works, and the houses and furniture of KITTI's streets."""

    def __init__(self, rng: Rng, road: Road, layout: Layout, region: Region, speed: float) -> None:
        super().__init__(rng, road, layout, region)
        # All vehicles of a lane have one speed, so that they do not collide; in our own lane it is our speed.
        self.speeds = [speed if n == 0 else rng.uniform(4, 12) for n, _ in layout.lanes]

    def fill(self) -> None:
        """Add all things, large ones first, as they need the most room."""
        self._walls()
        for _ in range(self._number(WORKS)):
            self._works()
        for name in ("trailer", "bus", "truck", "car", "motorcyclist"):
            for _ in range(self._number(DRIVING[name])):
                self._drive(name)
        for name, mean in PARKED.items():
            for _ in range(self._number(mean)):
                self._park(name)
        for _ in range(self._number(RIDING)):
            self._ride()
        for _ in range(self._number(WALKING * self.layout.busy)):
            self._walk()
        wanted = self._number(self.rng.uniform(8, 18))
        kinds, shares = list(SMALL), np.array([share for _, share in SMALL.values()])
        for kind in self.rng.choice(kinds, wanted, p=shares / shares.sum()):
            if kind != "parked_bicycle":  # a labelled class in nuScenes
                self._furniture(str(kind), SMALL[str(kind)][0])

    def _anywhere(self) -> float:
        return float(self.rng.uniform(self.region.start, self.region.end))

    def _put(self, name: str, pose: tuple[float, float, float], speed: float = 0.0) -> bool:
        """Add an instance of a class at x, y, yaw if there is room."""
        body = BODIES[name]
        size, mesh = body.draw(self.rng)
        x, y, yaw = pose
        if not self.taken.take(x, y, size[0], size[1], yaw):
            return False
        self.things.append(Actor(name, mesh, size, x, y, yaw, speed, labelled=True, body=body))
        return True

    def _in_lane(self, name: str, s: float, lane: int, offset: float = 0.0) -> bool:
        """Add a vehicle that follows its lane."""
        n, oncoming = self.layout.lanes[lane]
        x, y, heading = self.road.at(s, n + offset)
        if not self._put(name, (x, y, heading + np.pi * oncoming), self.speeds[lane]):
            return False
        actor = self.things[-1]
        assert isinstance(actor, Actor)
        actor.road, actor.s, actor.n, actor.oncoming = self.road, s, n + offset, oncoming
        return True

    def _drive(self, name: str) -> None:
        """Add a vehicle in a lane, or a truck with a trailer."""
        for _ in range(3):
            lane, s = int(self.rng.integers(len(self.layout.lanes))), self._anywhere()
            if not self._in_lane(name, s, lane, self.rng.normal(0, 0.2)):
                continue
            if name == "trailer":
                gap = self.things[-1].size[0] / 2 + BODIES["truck"].size[0][0] / 2 + TRACTOR_GAP
                self._in_lane("truck", s + (-gap if self.layout.lanes[lane][1] else gap), lane)
            return

    def _park(self, name: str) -> None:
        """Add a parked vehicle at the kerb, or a parked cycle on the pavement."""
        for _ in range(3):
            side = int(self.rng.integers(2))
            pose = self._parked(self._anywhere(), side)
            if name in ("motorcycle", "bicycle"):
                x, y, yaw = self.road.at(self._anywhere(), self.rng.uniform(*self.layout.pavements[side]))
                pose = x, y, yaw + self.rng.uniform(0, 2 * np.pi)
            if self._put(name, pose):
                return

    def _walk(self) -> None:
        """Add a pedestrian who walks or stands on a pavement, or crosses the road."""
        for _ in range(3):
            side, crossing = int(self.rng.integers(2)), self.rng.random() < 0.15
            n = self.rng.uniform(-6, 8) if crossing else self.rng.uniform(*self.layout.pavements[side])
            x, y, yaw = self.road.at(self._anywhere(), n)
            yaw += self.rng.choice([0, np.pi]) + np.pi / 2 * crossing + self.rng.normal(0, 0.2)
            speed = 0.0 if self.rng.random() < 0.3 else WALKING_SPEED * self.rng.uniform(0.7, 1.3)
            if self._put("pedestrian", (x, y, yaw), speed):
                return

    def _ride(self) -> None:
        """Add a cyclist at the road's edge."""
        for _ in range(3):
            side = int(self.rng.integers(2))
            edge = (self.layout.verges[0][1], self.layout.verges[1][0])[side]
            x, y, yaw = self.road.at(self._anywhere(), edge + self.rng.normal(0, 0.8))
            yaw += np.pi * side + self.rng.normal(0, 0.08)
            if self._put("cyclist", (x, y, yaw), RIDING_SPEED * self.rng.uniform(0.7, 1.4)):
                return

    def _works(self) -> None:
        """Add road works beside the lanes: a row of barriers, cones around it, sometimes a machine and workers."""
        side = int(self.rng.integers(2))
        n, s = self.layout.parking[side], self._anywhere()
        outward = (-1, 1)[side]
        if self.rng.random() < 0.75:
            x, y, yaw = self.road.at(s, n + outward * self.rng.uniform(0, 1.5))
            self._put("construction_vehicle", (x, y, yaw + self.rng.uniform(-0.6, 0.6) + np.pi * self.rng.integers(2)))
        for k in range(
            int(self.rng.integers(3, 8))
        ):  # barriers extend along y; a quarter turn puts them along the road
            x, y, yaw = self.road.at(s - 9 + 2.7 * k, n - outward * self.rng.uniform(1.75, 1.85))
            self._put("barrier", (x, y, yaw + np.pi / 2 + self.rng.normal(0, 0.04)))
        for k in range(int(self.rng.integers(4, 10))):
            along, across = s - 18 + 1.8 * k * self.rng.uniform(0.8, 1.2), n - outward * self.rng.normal(1.2, 0.3)
            x, y, yaw = self.road.at(along, across)
            self._put("traffic_cone", (x, y, yaw))
        for _ in range(int(self.rng.integers(0, 3))):
            x, y, yaw = self.road.at(s + self.rng.uniform(-8, 8), n + self.rng.uniform(-1, 1))
            self._put("pedestrian", (x, y, self.rng.uniform(-np.pi, np.pi)))
