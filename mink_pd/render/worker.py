"""Draws pictures off screen with Open3D: ``python -m mink_pd.render.worker JOBS PICTURES``.

It runs as a separate process because Open3D's engine aborts its process if there is no Vulkan driver, and writes its
log to the standard output.
"""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import open3d as o3d

from mink_pd.render.camera import Camera
from mink_pd.render.colours import encode_srgb
from mink_pd.render.drawables import drawable
from mink_pd.render.scene import Scene

rendering = o3d.visualization.rendering


def draw(scene: Scene, camera: Camera, size: tuple[int, int], scale: int) -> np.ndarray:
    """The picture, uint8 (height * scale, width * scale, 3); sizes in pixels are multiplied by ``scale`` as well."""
    renderer = rendering.OffscreenRenderer(size[0] * scale, size[1] * scale)
    # Post-processing would tone-map, but the colours must equal those of the legend.
    renderer.scene.view.set_post_processing(False)
    # The engine uses the colours of points and lines as given, but applies the inverse sRGB curve to the background.
    background = np.array([*encode_srgb(np.array(scene.background)), 1.0])
    renderer.scene.set_background(background.astype(np.float32))
    for number, layer in enumerate(scene.layers):
        geometry, material = drawable(layer, camera.fov, scale)
        if not geometry.is_empty():
            renderer.scene.add_geometry(str(number), geometry, material)
    target = camera.eye + camera.forward
    renderer.setup_camera(
        camera.fov,
        target.astype(np.float32),
        camera.eye.astype(np.float32),
        camera.up.astype(np.float32),
        camera.near,
        camera.far,
    )
    picture = np.asarray(renderer.render_to_image()).copy()
    renderer.scene.clear_geometry()
    return picture


if __name__ == "__main__":
    jobs = pickle.loads(Path(sys.argv[1]).read_bytes())
    np.savez(sys.argv[2], *[draw(*job) for job in jobs])
    sys.stdout.flush()
    os._exit(0)  # skips the engine's shutdown, which sometimes aborts; the pictures are already written
