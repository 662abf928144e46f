"""Cars whose faces have the shape that KITTI's LiDAR sees: tapered ends, rounded corners, a high beltline.

The sections follow the median depth of the points behind the ends of the labelled boxes, by height and by distance from
the car's middle (docs/results.md, "The simulator beside real frames").
"""

import numpy as np

from mink_pd.simulator.actors import fittings, wheels
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.mesh import Mesh, Surface, frustum, loft, merge, tube

HALF, ROOF = 1.92, 1.53  # half length and height [m] before the mesh is fitted to a label
# Rear ends of the cabin, behind the middle of the car: at the beltline and at the roof [m from the rear end].
TAILS = {"saloon": (0.6, 1.15), "hatchback": (0.13, 0.5), "estate": (0.1, 0.3)}
SHARES = (0.25, 0.45, 0.3)
GLASS = 0.009  # reflectance


def paint(rng: Rng) -> float:
    """Reflectance of paint at right angles."""
    return float(rng.choice([0.04, 0.2, 0.4, 0.6], p=[0.3, 0.2, 0.27, 0.23]) * rng.uniform(0.7, 1.3))


def street_car(rng: Rng) -> Mesh:
    """Hatchback, saloon or estate with rounded bumpers, rising bonnet, sloped windows, wheels, lamps and plates."""
    colour = paint(rng)
    belt = rng.uniform(1.0, 1.12)
    bonnet = belt - rng.uniform(0.1, 0.18)
    tail, roof_tail = (v * rng.uniform(0.85, 1.15) for v in TAILS[str(rng.choice(list(TAILS), p=SHARES))])
    taper = rng.uniform(0.6, 1.4)
    front, roof_front = rng.uniform(0.75, 1.0), rng.uniform(0.1, 0.35)
    cabin = _cabin(belt, (-HALF + tail, front), (-HALF + roof_tail, roof_front), colour)
    lamps = fittings(HALF - 0.07 * taper, -HALF + 0.03 * taper, 0.66, 0.66)
    return merge(_body(belt, bonnet, taper, colour), *cabin, *wheels((-1.2, 1.2), 0.31, 0.81), *lamps)


def _body(belt: float, bonnet: float, taper: float, colour: float) -> Mesh:
    """The car up to its beltline.

    belt, bonnet: heights [m].
    taper: how far the ends recede, 1 on average.
    """
    # Inset from the end, lower z, upper z, half width.
    behind = [(0.0, 0.30, 0.58, 0.40), (0.05, 0.22, 0.82, 0.58), (0.1, 0.19, belt - 0.08, 0.70)]
    behind += [(0.2, 0.17, belt - 0.02, 0.78), (0.4, 0.17, belt, 0.81)]
    ahead = [(0.0, 0.28, 0.50, 0.32), (0.06, 0.21, 0.68, 0.50), (0.14, 0.17, 0.74, 0.62)]
    ahead += [(0.28, 0.16, 0.80, 0.73), (0.5, 0.16, 0.87, 0.79), (0.9, 0.16, bonnet, 0.81), (1.2, 0.16, belt, 0.81)]
    sections = [(-HALF + inset * taper, low, high, w) for inset, low, high, w in behind]
    sections += [(HALF - inset * taper * 1.3, low, high, w) for inset, low, high, w in reversed(ahead)]
    rings = [
        [
            (x, -w, low),
            (x, w, low),
            (x, w, high - 0.08),
            (x, w * 0.94, high),
            (x, -w * 0.94, high),
            (x, -w, high - 0.08),
        ]
        for x, low, high, w in sections
    ]
    return loft(np.array(rings), Surface.PAINT, colour)


def _cabin(belt: float, foot: tuple[float, float], top: tuple[float, float], colour: float) -> list[Mesh]:
    """Windows, roof and pillars above the beltline ``belt`` [m].

    foot, top: rear and front end of the windows at the beltline and at the roof [m].
    """
    dark = 0.3 * colour  # seals, tinted edges and the roof's edge, which curves away
    (rear, front), (roof_rear, roof_front) = foot, top
    outer = (roof_rear - 0.05, roof_front + 0.06, -0.62, 0.62)
    inner = (roof_rear + 0.02, roof_front - 0.02, -0.57, 0.57)
    crown = (roof_rear + 0.25, roof_front - 0.25, -0.42, 0.42)
    low, high = (rear, front, -0.76, 0.76), (roof_rear, roof_front, -0.6, 0.6)
    windows = frustum(low, high, belt - 0.03, ROOF - 0.06, GLASS, Surface.GLASS)
    edge = frustum(outer, inner, ROOF - 0.12, ROOF - 0.04, dark, Surface.PAINT)
    roof = frustum(inner, crown, ROOF - 0.04, ROOF, colour, Surface.PAINT)
    middle = (rear + roof_front) / 2
    pillars = [
        tube((x, s * 0.76, belt - 0.02), (t, s * 0.6, ROOF - 0.06), (0.045, 0.04), dark, 4, Surface.PAINT)
        for x, t in ((rear, roof_rear), (middle, middle), (front, roof_front))
        for s in (-1, 1)
    ]
    return [windows, edge, roof, *pillars]
