"""Cars, vans, trucks, pedestrians and cyclists, built of parts, at the sizes of KITTI's labels.

A mesh faces +x, stands on z = 0 and is centred over the origin. It is smaller than its label by MARGIN on each side:
annotators leave such a margin too, and range noise then keeps the points of a face inside the box.
"""

import numpy as np

from mink_pd.simulator.draws import Rng, normal
from mink_pd.simulator.mesh import Mesh, Surface, blob, box, column, frustum, hoop, loft, merge, tube

MARGIN = 0.04  # two standard deviations of the range noise [m]
TYRE = 0.04  # reflectance

# Mean and standard deviation of l, w, h [m] over KITTI's training labels.
SIZES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "Car": ((3.88, 0.42), (1.63, 0.10), (1.53, 0.13)),
    "Van": ((5.08, 0.70), (1.90, 0.16), (2.21, 0.30)),
    "Truck": ((9.4, 2.2), (2.58, 0.20), (3.25, 0.40)),
    "Pedestrian": ((0.84, 0.22), (0.66, 0.13), (1.76, 0.10)),
    "Cyclist": ((1.76, 0.14), (0.60, 0.11), (1.74, 0.08)),
}


def draw_size(rng: Rng, name: str) -> tuple[float, float, float]:
    """l, w, h of a random instance of a class [m]."""
    length, width, height = (normal(rng, *statistics) for statistics in SIZES[name])
    return length, width, height


def _paint(rng: Rng) -> float:
    """Reflectance of paint. Dark paint, which absorbs much of the pulse, is common."""
    return float(rng.choice([0.02, 0.05, 0.15, 0.5]) * rng.uniform(0.6, 1.4))


def wheels(places: tuple[float, ...], radius: float, half_width: float) -> list[Mesh]:
    return [
        tube((x, side * half_width, radius), (x, side * (half_width - 0.2), radius), (radius, radius), TYRE, 10)
        for x in places
        for side in (-1, 1)
    ]


def _shell(sections: list[tuple[float, float, float, float]], paint: float) -> Mesh:
    """A car's body below the windows: sections of x, lower z, upper z, half width [m]."""
    rings = [[(x, -w, low), (x, w, low), (x, w * 0.97, high), (x, -w * 0.97, high)] for x, low, high, w in sections]
    return loft(np.array(rings), Surface.PAINT, paint)


def fittings(front: float, rear: float, half_width: float, z: float) -> list[Mesh]:
    """Lamps and number plates, which are retroreflective."""
    parts = []
    for x, sign in ((front, 1), (rear, -1)):
        near, far = sorted((x, x + 0.015 * sign))
        parts.append(box((near, -0.26, z - 0.22), (far, 0.26, z - 0.11), 0.95))
        for side in (-1, 1):
            y = sorted((side * (half_width - 0.35), side * (half_width - 0.1)))
            parts.append(box((near, y[0], z - 0.05), (far, y[1], z + 0.08), 0.7))
    return parts


def car(rng: Rng) -> Mesh:
    """Hatchback, saloon, estate or off-roader, with sloped glass, wheels, lamps and number plates."""
    paint = _paint(rng)
    belt = rng.uniform(0.86, 0.98)
    hood = belt - rng.uniform(0.06, 0.16)
    # Rear ends of the cabin at the beltline and at the roof; they make a boot lid or a tailgate.
    rear, roof_rear = [(-1.25, -0.75), (-1.8, -1.45), (-1.85, -1.7), (-1.86, -1.76)][rng.integers(4)]
    front, roof_front = rng.uniform(0.75, 1.05), rng.uniform(0.1, 0.4)
    body = _shell(
        [
            (-1.92, 0.3, 0.65, 0.68),
            (-1.85, 0.2, belt - 0.06, 0.77),
            (-1.3, 0.18, belt, 0.80),
            (0.6, 0.18, belt, 0.80),
            (1.0, 0.18, hood, 0.80),
            (1.7, 0.2, hood - 0.1, 0.74),
            (1.92, 0.28, 0.58, 0.62),
        ],
        paint,
    )
    roof = 1.53
    cabin = frustum(
        (rear, front, -0.74, 0.74),
        (roof_rear, roof_front, -0.58, 0.58),
        belt - 0.02,
        roof - 0.05,
        0.05,
        Surface.GLASS,
    )
    lid = frustum(
        (roof_rear - 0.04, roof_front + 0.04, -0.6, 0.6),
        (roof_rear + 0.1, roof_front - 0.15, -0.5, 0.5),
        roof - 0.06,
        roof,
        paint,
        Surface.PAINT,
    )
    middle = (rear + roof_front) / 2
    pillars = [
        tube(
            (x, side * 0.75, belt - 0.02),
            (t, side * 0.59, roof - 0.05),
            (0.05, 0.045),
            paint,
            4,
            Surface.PAINT,
        )
        for x, t in ((rear, roof_rear), (middle, middle), (front, roof_front))
        for side in (-1, 1)
    ]
    return merge(body, cabin, lid, *pillars, *wheels((-1.2, 1.2), 0.31, 0.81), *fittings(1.9, -1.91, 0.7, 0.62))


def van(rng: Rng) -> Mesh:
    """A delivery van or minibus: a high box, a short hood, a steep windscreen."""
    paint = _paint(rng)
    windows = Surface.GLASS if rng.random() < 0.5 else Surface.PAINT
    body = _shell(
        [(-2.5, 0.3, 1.15, 0.9), (1.6, 0.25, 1.15, 0.94), (2.2, 0.25, 1.0, 0.9), (2.5, 0.3, 0.7, 0.75)], paint
    )
    cargo = frustum((-2.48, 0.9, -0.93, 0.93), (-2.4, 0.9, -0.82, 0.82), 1.15, 2.2, paint, windows)
    screen = frustum((0.9, 1.9, -0.9, 0.9), (0.9, 1.15, -0.8, 0.8), 1.15, 2.15, 0.05, Surface.GLASS)
    roof = box((-2.4, -0.82, 2.15), (1.15, 0.82, 2.22), paint, Surface.PAINT)
    return merge(body, cargo, screen, roof, *wheels((-1.6, 1.6), 0.34, 0.93), *fittings(2.48, -2.5, 0.85, 0.75))


def truck(rng: Rng) -> Mesh:
    """A lorry: cab, gap, cargo box, three axles."""
    paint, cargo = _paint(rng), rng.uniform(0.2, 0.6)
    cab = frustum((2.9, 4.7, -1.2, 1.2), (2.9, 4.5, -1.15, 1.15), 0.5, 2.7, paint, Surface.PAINT)
    screen = frustum((4.4, 4.68, -1.05, 1.05), (4.4, 4.58, -1.0, 1.0), 1.6, 2.4, 0.05, Surface.GLASS)
    load = box((-4.7, -1.28, 1.0), (2.6, 1.28, 3.25), cargo)
    frame = box((-4.6, -0.5, 0.7), (3.0, 0.5, 1.0), 0.1)
    axles = wheels((-3.4, -2.3, 3.6), 0.5, 1.2)
    return merge(cab, screen, load, frame, *axles, *fittings(4.69, -4.7, 1.2, 1.1))


def _person(rng: Rng, stride: float, swing: float, cloth: float, trousers: float) -> list[Mesh]:
    """Head, torso, arms and legs of a person of 1.76 m."""
    waist, shoulder = 0.92, 1.45
    parts = [
        column(
            [waist - 0.08, 1.15, 1.38, shoulder + 0.05],
            [(0.12, 0.17), (0.12, 0.17), (0.13, 0.21), (0.06, 0.08)],
            cloth,
        ),
        blob((0.03, 0.0, 1.64), (0.1, 0.085, 0.13), 0.3),
    ]
    for side in (-1, 1):
        knee = (side * stride * 0.35 + 0.04, side * 0.1, 0.5)
        foot = (side * stride, side * 0.1, 0.06)
        parts.append(tube((0.0, side * 0.09, waist), knee, (0.095, 0.07), trousers))
        parts.append(tube(knee, foot, (0.07, 0.05), trousers))
        parts.append(box((foot[0] - 0.08, foot[1] - 0.05, 0.0), (foot[0] + 0.18, foot[1] + 0.05, 0.09), TYRE))
        elbow = (-side * swing * 0.5, side * 0.27, 1.15)
        hand = (-side * swing + 0.08, side * 0.28, 0.88 + abs(swing) * 0.2)
        parts.append(tube((0.0, side * 0.21, shoulder - 0.03), elbow, (0.055, 0.045), cloth, 5))
        parts.append(tube(elbow, hand, (0.045, 0.035), cloth, 5))
    if rng.random() < 0.25:
        parts.append(box((-0.3, -0.15, 0.98), (-0.1, 0.15, 1.42), rng.uniform(0.05, 0.5)))  # rucksack
    return parts


def pedestrian(rng: Rng) -> Mesh:
    """A person who stands or walks, sometimes with a rucksack."""
    stride = rng.uniform(0.02, 0.34)
    return merge(*_person(rng, stride, stride * rng.uniform(0.4, 0.9), rng.uniform(0.04, 0.5), rng.uniform(0.03, 0.35)))


def bicycle(rng: Rng) -> list[Mesh]:
    """Wheels, frame and handlebar of a bicycle."""
    metal = rng.uniform(0.1, 0.5)
    crank, seat, head = (-0.02, 0.0, 0.3), (-0.2, 0.0, 0.85), (0.38, 0.0, 0.85)
    bars = [
        ((-0.53, 0.0, 0.34), crank),
        (crank, seat),
        (crank, head),
        (seat, head),
        (head, (0.53, 0.0, 0.34)),
    ]
    parts = [tube(a, b, (0.025, 0.025), metal, 4) for a, b in bars]
    parts += [hoop((x, 0.0, 0.34), 0.34, 0.025, TYRE) for x in (-0.53, 0.53)]
    parts.append(tube((0.36, -0.28, 0.98), (0.36, 0.28, 0.98), (0.02, 0.02), metal, 4))
    parts.append(tube(head, (0.36, 0.0, 0.98), (0.02, 0.02), metal, 4))
    return parts


def cyclist(rng: Rng) -> Mesh:
    """A rider on a bicycle, leaning forward by a random amount."""
    cloth, trousers = rng.uniform(0.04, 0.5), rng.uniform(0.03, 0.35)
    lean = rng.uniform(0.1, 0.4)
    hip, neck = (-0.22, 0.0, 0.9), (-0.22 + lean, 0.0, 1.5 - lean * 0.15)
    torso = column([0, 0.25, 0.5, 0.62], [(0.12, 0.16), (0.12, 0.17), (0.12, 0.2), (0.05, 0.07)], cloth)
    torso.vertices[:, 0] += torso.vertices[:, 2] * lean / 0.6  # a shear, not a rotation
    torso.vertices += hip
    parts = [*bicycle(rng), torso, blob((neck[0] + 0.06, 0.0, neck[2] + 0.16), (0.1, 0.085, 0.13), 0.3)]
    pedal = rng.uniform(-0.15, 0.15)
    for side in (-1, 1):
        knee, foot = (
            (0.12, side * 0.11, 0.68 + side * pedal),
            (-0.02 - side * pedal * 0.3, side * 0.11, 0.28 + side * pedal),
        )
        parts.append(tube((hip[0], side * 0.09, hip[2]), knee, (0.09, 0.07), trousers))
        parts.append(tube(knee, foot, (0.065, 0.05), trousers))
        parts.append(
            tube((neck[0] - 0.03, side * 0.2, neck[2] - 0.05), (0.36, side * 0.27, 1.0), (0.05, 0.04), cloth, 5)
        )
    return merge(*parts)


BUILDERS = {"Car": car, "Van": van, "Truck": truck, "Pedestrian": pedestrian, "Cyclist": cyclist}
