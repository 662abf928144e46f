"""Ray casting in a scene in which some things move."""

from typing import NamedTuple

import numpy as np

from mink_pd.simulator.mesh import Mesh, merge
from mink_pd.simulator.moving_scene import Scene, Thing
from mink_pd.simulator.sensor import caster, to_tensor


class Hits(NamedTuple):
    """The first hit of each of R rays."""

    distance: np.ndarray  # (R,) [m]; infinite for a ray that hits nothing
    cosine: np.ndarray  # (R,) absolute cosine of the angle between ray and surface normal
    surface: np.ndarray  # (R,) numbers of Surface
    reflectance: np.ndarray  # (R,)

    def select(self, rays: np.ndarray) -> "Hits":
        """The hits of the rays in a mask (R,)."""
        return Hits(*(values[rays] for values in self))


class _Solid:
    """A mesh in the world frame, prepared for ray casting."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.caster = caster(mesh.vertices, mesh.triangles)

    def cast(self, rays: np.ndarray) -> Hits:
        hits = self.caster.cast_rays(to_tensor(rays), nthreads=1)
        distance = hits["t_hit"].numpy()
        triangle = np.where(np.isfinite(distance), hits["primitive_ids"].numpy().astype(np.int64), 0)
        cosine = np.abs(np.einsum("rc,rc->r", hits["primitive_normals"].numpy(), rays[:, 3:]))
        return Hits(distance, cosine, self.mesh.surface[triangle].astype(np.int64), self.mesh.reflectance[triangle])


class Caster:
    """Casts rays into a scene. Its parts at rest are prepared only once."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        still = [self._mesh(thing, 0.0) for thing in scene.things if not thing.speed]
        self.still = _Solid(merge(scene.ground.mesh(*scene.grid), *still))
        self.moving = [thing for thing in scene.things if thing.speed]

    def cast(self, time: float, rays: np.ndarray) -> Hits:
        """The hits of rays float32 (R, 6), origin and unit vector in the world frame, at a time [s]."""
        found = self.still.cast(rays)
        if self.moving:
            other = _Solid(merge(*(self._mesh(thing, time) for thing in self.moving))).cast(rays)
            nearer = other.distance < found.distance
            found = Hits(*(np.where(nearer, b, a) for a, b in zip(found, other, strict=True)))
        return found

    def _mesh(self, thing: Thing, time: float) -> Mesh:
        x, y, yaw = thing.at(time)
        return thing.mesh.moved(x, y, float(self.scene.ground.height(np.array(x), np.array(y))), yaw)
