"""Pictures of point clouds, boxes, importance and detections, drawn by Open3D off screen or in a window."""

from mink_pd.evaluate.panel import FALSE_POSITIVE, IGNORED, MISSED, TRUE_POSITIVE, Panel
from mink_pd.render.detections import detections_figure, detections_scene, detections_side_by_side
from mink_pd.render.frames import choose_frame
from mink_pd.render.importance_picture import importance_camera, importance_figure, importance_scene
from mink_pd.render.offscreen import render_images, render_png, save_png
from mink_pd.render.outlook import Outlook
from mink_pd.render.scene import Lines, Points, Scene
from mink_pd.render.window import check_display, show

__all__ = [
    "FALSE_POSITIVE",
    "IGNORED",
    "MISSED",
    "TRUE_POSITIVE",
    "Lines",
    "Outlook",
    "Panel",
    "Points",
    "Scene",
    "check_display",
    "choose_frame",
    "detections_figure",
    "detections_scene",
    "detections_side_by_side",
    "importance_camera",
    "importance_figure",
    "importance_scene",
    "render_images",
    "render_png",
    "save_png",
    "show",
]
