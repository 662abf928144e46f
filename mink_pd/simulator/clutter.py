"""Everything without a label: walls, poles, trees, bushes, and things that resemble labelled objects."""

from collections.abc import Callable

import numpy as np

from mink_pd.simulator.actors import bicycle
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.mesh import Mesh, Surface, blob, box, column, merge


def facade(rng: Rng) -> Mesh:
    """A house front, 8 to 24 m long, centred on the origin."""
    half, height, colour = rng.uniform(4, 12), rng.uniform(3.5, 10), rng.uniform(0.2, 0.45)
    parts = [box((-half, -0.3, -1.0), (half, 0.3, height), colour)]
    for x in range(int(-half) + 2, int(half) - 1, 3):  # windows
        parts.append(box((x, -0.33, 1.0), (x + 1.2, 0.33, 2.3), 0.06, Surface.GLASS))
    return merge(*parts)


def thicket(rng: Rng) -> Mesh:
    """A row of shrubs and low trees, 8 to 16 m long; it takes the place of a house."""
    half = rng.uniform(4, 8)
    parts = []
    for x in np.arange(-half + 1, half, 2.0):
        width, height = rng.uniform(0.9, 1.5), rng.uniform(0.7, 2.6)
        centre = (x + rng.uniform(-0.3, 0.3), rng.uniform(-0.4, 0.4), height * 0.8)
        parts.append(blob(centre, (width, width, height), rng.uniform(0.2, 0.4), Surface.FOLIAGE, 0.25, rng, 7))
    return merge(*parts)


def fence(rng: Rng) -> Mesh:
    """A garden wall, fence or guard rail."""
    half, height = rng.uniform(2, 7), rng.uniform(0.6, 1.8)
    return box((-half, -0.1, -0.5), (half, 0.1, height), rng.uniform(0.15, 0.4))


def hedge(rng: Rng) -> Mesh:
    """A clipped hedge, often as large as a car."""
    half, width, height = rng.uniform(1.2, 4), rng.uniform(0.4, 0.9), rng.uniform(0.9, 1.9)
    return box((-half, -width, -0.3), (half, width, height), rng.uniform(0.2, 0.4), Surface.FOLIAGE)


def bush(rng: Rng) -> Mesh:
    """A bush between a person's and a car's width."""
    width, height = rng.uniform(0.25, 1.1), rng.uniform(0.35, 0.95)
    radii = (width * rng.uniform(0.8, 1.6), width, height)
    return blob((0.0, 0.0, height * 0.85), radii, rng.uniform(0.2, 0.4), Surface.FOLIAGE, 0.2, rng)


def tree(rng: Rng) -> Mesh:
    """A tree of trunk and crown. Its lowest branches may reach down to a person's head."""
    radius, clear, crown = rng.uniform(0.1, 0.3), rng.uniform(1.2, 3.0), rng.uniform(1.0, 2.8)
    trunk = column([-0.4, 0.2, clear + 0.6], [(radius * 1.3,) * 2, (radius,) * 2, (radius * 0.8,) * 2], 0.25, 7)
    leaves = blob(
        (0.0, 0.0, clear + crown),
        (crown, crown, crown * rng.uniform(0.8, 1.3)),
        rng.uniform(0.2, 0.4),
        Surface.FOLIAGE,
        0.25,
        rng,
        10,
    )
    return merge(trunk, leaves)


def stump(rng: Rng) -> Mesh:
    """A bare trunk, a column or a bollard of a person's size."""
    radius, height = rng.uniform(0.1, 0.3), rng.uniform(1.0, 2.3)
    return column(
        [-0.3, height * 0.6, height],
        [(radius,) * 2, (radius * 0.95,) * 2, (radius * 0.7,) * 2],
        rng.uniform(0.1, 0.5),
    )


def pole(rng: Rng) -> Mesh:
    """A lamp post, or a signpost with a retroreflective sign."""
    radius, height = rng.uniform(0.04, 0.12), rng.uniform(2.2, 7)
    post = column([-0.3, height], [(radius,) * 2, (radius * 0.8,) * 2], rng.uniform(0.2, 0.6), 6)
    if rng.random() < 0.4:
        z = rng.uniform(1.6, 2.1)
        return merge(post, box((-0.03 - radius, -0.3, z), (-radius, 0.3, z + 0.6), 0.95))
    return post


def cabinet(rng: Rng) -> Mesh:
    """A switch box, parcel locker, bin or ticket machine of a person's size."""
    return box(
        (-rng.uniform(0.2, 0.5), -rng.uniform(0.2, 0.5), -0.2),
        (rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.4), rng.uniform(1.0, 1.9)),
        rng.uniform(0.1, 0.5),
    )


def figure(rng: Rng) -> Mesh:
    """A statue, hydrant or advertising column: a slim body with a knob on top."""
    body, height = rng.uniform(0.14, 0.26), rng.uniform(0.8, 1.45)
    return merge(
        column(
            [-0.2, height * 0.5, height],
            [(body, body * 1.4), (body * 0.9, body * 1.3), (body * 0.5, body * 0.6)],
            rng.uniform(0.1, 0.5),
        ),
        blob((0.0, 0.0, height + 0.1), (0.12, 0.12, 0.14), rng.uniform(0.1, 0.5)),
    )


def skip(rng: Rng) -> Mesh:
    """A container, stack of boards or low kiosk of a car's size."""
    half = rng.uniform(1.3, 2.4)
    parts = [
        box(
            (-half, -rng.uniform(0.6, 0.95), -0.2),
            (half, rng.uniform(0.6, 0.95), rng.uniform(0.7, 1.3)),
            rng.uniform(0.08, 0.5),
        )
    ]
    if rng.random() < 0.5:  # a load on top resembles the cabin of a car
        parts.append(
            box(
                (-half * 0.6, -0.6, 0.6),
                (half * rng.uniform(0, 0.7), 0.6, rng.uniform(1.3, 1.8)),
                rng.uniform(0.08, 0.5),
            )
        )
    return merge(*parts)


def grass(rng: Rng) -> Mesh:
    """A strip of long grass, kerb or low planting, ankle- to knee-high."""
    half, width, height = rng.uniform(0.8, 4), rng.uniform(0.3, 1.2), rng.uniform(0.12, 0.4)
    return blob((0.0, 0.0, 0.0), (half, width, height), rng.uniform(0.2, 0.4), Surface.FOLIAGE, 0.15, rng, 9)


def heap(rng: Rng) -> Mesh:
    """Shrubs, boards and boxes that stand together and fill about a car's space in no car's shape."""
    parts = []
    for _ in range(rng.integers(2, 6)):
        x, y = rng.uniform(-1.6, 1.6), rng.uniform(-0.6, 0.6)
        length, width, height = rng.uniform(0.3, 1.4), rng.uniform(0.15, 0.8), rng.uniform(0.4, 2.0)
        if rng.random() < 0.6:
            leaves = rng.uniform(0.2, 0.4)
            parts.append(
                blob((x, y, height * 0.5), (length, width, height * 0.6), leaves, Surface.FOLIAGE, 0.3, rng, 7)
            )
        else:
            low, high = (x - length / 2, y - width / 2, -0.2), (x + length / 2, y + width / 2, height)
            parts.append(box(low, high, rng.uniform(0.08, 0.5)))
    return merge(*parts)


def parked_bicycle(rng: Rng) -> Mesh:
    """A bicycle without its rider; KITTI does not label it."""
    return merge(*bicycle(rng))


# Kind -> builder, and its share of all clutter.
SMALL: dict[str, tuple[Callable[[Rng], Mesh], float]] = {
    "bush": (bush, 0.16),
    "tree": (tree, 0.22),
    "stump": (stump, 0.10),
    "pole": (pole, 0.16),
    "cabinet": (cabinet, 0.09),
    "figure": (figure, 0.08),
    "parked_bicycle": (parked_bicycle, 0.05),
    "skip": (skip, 0.06),
    "hedge": (hedge, 0.07),
    "fence": (fence, 0.05),
}
