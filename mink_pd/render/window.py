"""Scenes in an interactive window."""

import os
import sys

import numpy as np

from mink_pd.errors import MinkPDError
from mink_pd.render.camera import Camera
from mink_pd.render.colours import encode_srgb
from mink_pd.render.display import wayland_answers, x_server_answers
from mink_pd.render.scene import Points, Scene


def check_display(instead: str = "picture instead with --save FILE.png") -> None:
    """Raise MinkPDError if no window can be opened because there is no display or its server does not answer.

    instead: what the user can save.
    """
    if not sys.platform.startswith("linux"):
        return
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    remedy = f"save the {instead}"
    if not (display or wayland):
        raise MinkPDError(f"no display to open a window on; {remedy}")
    if not (display and x_server_answers(display)) and not (wayland and wayland_answers(wayland)):
        named = " and ".join(filter(None, (display and f"DISPLAY={display}", wayland and f"WAYLAND_DISPLAY={wayland}")))
        raise MinkPDError(f"no display to open a window on: no server answers at {named}; {remedy}")


def show(scene: Scene, camera: Camera, title: str, size: tuple[int, int] = (1600, 900)) -> None:
    """Open a window in which the mouse turns, moves and zooms, and return when the user closes it.

    Raises MinkPDError if there is no display.
    """
    check_display()
    import open3d as o3d  # imported late because it takes seconds and needs the display's libraries

    from mink_pd.render.drawables import drawable

    application = o3d.visualization.gui.Application.instance
    application.initialize()
    window = application.create_window(title, *size)
    view = o3d.visualization.gui.SceneWidget()
    view.scene = o3d.visualization.rendering.Open3DScene(window.renderer)
    view.scene.view.set_post_processing(False)  # it would change the colours, as in worker.py
    view.scene.set_background(np.array([*encode_srgb(np.array(scene.background)), 1.0], dtype=np.float32))
    for number, layer in enumerate(scene.layers):
        geometry, material = drawable(layer, camera.fov)
        if not geometry.is_empty():
            view.scene.add_geometry(str(number), geometry, material)
    bounds = view.scene.bounding_box
    view.setup_camera(camera.fov, bounds, bounds.get_center())
    view.look_at(_centre(scene, camera), camera.eye, camera.up)
    window.add_child(view)
    application.run()


def _centre(scene: Scene, camera: Camera) -> np.ndarray:
    """The point around which the mouse turns the view: ahead of the camera, at the depth of the points' middle."""
    clouds = [layer.positions for layer in scene.layers if isinstance(layer, Points)]
    points = np.concatenate([np.zeros((0, 3)), *clouds])
    depth = np.median((points - camera.eye) @ camera.forward) if len(points) > 0 else 30.0
    return camera.eye + camera.forward * depth
