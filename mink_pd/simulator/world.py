"""What simulated streets are like: how full, how level, of which bodies and clutter, and how a LiDAR sees them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mink_pd.errors import ConfigError
from mink_pd.simulator.actors import BUILDERS, MARGIN
from mink_pd.simulator.cars import street_car
from mink_pd.simulator.clutter import SMALL, grass, heap
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.ground import RELIEF, Relief
from mink_pd.simulator.mesh import Mesh, Surface
from mink_pd.simulator.optics import OPTICS, RESPONSES, Optics, Response

Builder = Callable[[Rng], Mesh]


@dataclass(frozen=True)
class World:
    """A kind of simulated street."""

    # Share of each kind of street.
    streets: Mapping[str, float] = field(
        default_factory=lambda: {"residential": 0.35, "city": 0.3, "road": 0.15, "square": 0.2}
    )
    # Mean number of attempts per frame for each kind; about two in three find a free position in view.
    cars: float = 9.0
    pedestrians: float = 6.2
    cyclists: float = 4.9
    large: float = 0.9  # vans and trucks
    across: float = 0.12  # share of streets other than squares in which cars are parked across
    crossing: float = 0.15  # share of vehicles that cross the road
    nearness: float = 0.85  # exponent of a uniform draw along the road: the larger, the nearer vehicles are
    clutter: Mapping[str, tuple[Builder, float]] = field(default_factory=lambda: SMALL)
    pieces: tuple[int, int] = (14, 34)  # least number of pieces of clutter, and the number that is not reached
    builders: Mapping[str, Builder] = field(default_factory=lambda: BUILDERS)
    # What a label is larger than its car: at either end, on either side, at the top [m].
    car_margins: tuple[float, float, float] = (MARGIN, MARGIN, MARGIN)
    relief: Relief = RELIEF
    optics: Optics = OPTICS

    def build(self, rng: Rng, name: str, size: tuple[float, float, float]) -> Mesh:
        """The mesh of a random instance of a class whose label has this size l, w, h [m]."""
        end, side, top = self.car_margins if name == "Car" else (MARGIN, MARGIN, MARGIN)
        length, width, height = size
        return self.builders[name](rng).fitted(length - 2 * end, width - 2 * side, height - top)


# Many people, crossing traffic and rough ground: objects of all classes, in all headings. The default.
VARIED = World()

# KITTI's streets as its LiDAR sees them. Each number was measured on training frames of the object benchmark and is
# compared with them in docs/results.md.
STREET = World(
    streets={"residential": 0.45, "city": 0.2, "road": 0.3, "square": 0.05},
    pedestrians=2.4,
    cyclists=1.8,
    large=1.3,
    across=0.05,
    crossing=0.05,
    nearness=1.2,
    clutter=MappingProxyType({**SMALL, "grass": (grass, 0.3), "heap": (heap, 0.12)}),
    pieces=(20, 46),
    builders=MappingProxyType({**BUILDERS, "Car": street_car}),
    car_margins=(0.06, 0.03, 0.02),
    relief=Relief(
        slope=(0.006, -0.009),
        slope_spread=(0.005, 0.015),
        waves=(0.015, 0.065),
        verges=(0.03, 0.12),
        road=(0.19, 0.36),
        beside=(0.22, 0.4),
    ),
    optics=Optics(
        responses=MappingProxyType(
            {
                **RESPONSES,
                Surface.PAINT: Response(2.0, 0.7, 0.1, 0.0),
                Surface.GLASS: Response(1.0, 0.5, 0.25, 0.3),
                Surface.ROAD: Response(0.05, 0.35, 0.02, 0.0),
            }
        ),
        weak_signal=0.02,
        sharpness=2.0,
        faint_signal=0.055,
        weak_lasers=0.12,
        laser_bias=0.02,
        laser_tilt=0.001,
    ),
)

WORLDS: Mapping[str, World] = MappingProxyType({"varied": VARIED, "street": STREET})
DEFAULT_WORLD = "varied"


def world_named(name: str) -> World:
    """The world of this name. Raises ConfigError that lists the names."""
    if name not in WORLDS:
        raise ConfigError(f"there is no world '{name}'; choose one of {', '.join(WORLDS)}")
    return WORLDS[name]
