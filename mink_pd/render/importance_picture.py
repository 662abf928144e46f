"""The figure of the teacher's importance (PointDistiller, Zhang et al. 2023, Figure 3)."""

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from mink_pd.render.camera import Camera, fit_camera
from mink_pd.render.colours import OKABE_ITO, WHITE, Scale, colour_map, scale_of
from mink_pd.render.offscreen import render_images
from mink_pd.render.outlook import AHEAD, Outlook
from mink_pd.render.scene import Lines, Points, Scene
from mink_pd.render.shapes import RADII, box_lines, circles, ground_height, rings, velocity_arrows, view_targets
from mink_pd.render.sheet import MARGIN, QUIET, SIZE, Entry, Page

SELECTED = OKABE_ITO["sky blue"]
_BEHIND = (MARGIN, 124, 1060, 656)  # x, y, width, height [px] of the two pictures
_ABOVE = (MARGIN + 1060 + 16, 124, 460, 656)
_SUBTITLE = "Points coloured by the teacher's importance. Circles mark where the student learns from the teacher."
_SMALLEST, _LARGEST = 0.1, 0.5  # radius of a circle [m]


def importance_scene(
    points: np.ndarray,
    importance: np.ndarray,
    selected: np.ndarray,
    boxes: np.ndarray,
    velocities: np.ndarray | None = None,
    outlook: Outlook = AHEAD,
) -> tuple[Scene, Scale]:
    """The scene and the scale of its colours: points (P, 3 or more) coloured by importance (P,) >= 0, circles around
    the selected locations (N, 3), and boxes (B, 7) with arrows for their velocities (B, 2) [m/s]."""
    scale = scale_of(importance)
    fraction = scale(importance)  # (P,)
    scene = Scene()
    scene += rings(RADII, ground_height(points), outlook.all_around)
    for low, high, size in (
        (-0.1, 0.5, 2.0),
        (0.5, 0.8, 3.0),
        (0.8, 1.1, 4.0),
    ):  # important points are drawn larger
        rows = (fraction >= low) & (fraction < high)
        scene += Points(points[rows, :3], colour_map(fraction[rows]), size)
    scene += box_lines(boxes, WHITE, 3.0)
    if velocities is not None:
        scene += Lines(velocity_arrows(boxes, velocities), WHITE, 2.0)
    scene += Lines(circles(selected, _radius(selected)), SELECTED, 1.8)
    return scene, scale


def importance_camera(
    points: np.ndarray,
    selected: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int] = SIZE,
    outlook: Outlook = AHEAD,
) -> Camera:
    """A camera behind and above the sensor that sees the boxes and most of the selected locations."""
    middle = selected
    if len(selected) > 0:
        low, high = np.percentile(selected, [5, 95], axis=0)
        middle = selected[((selected >= low) & (selected <= high)).all(axis=1)]
    return fit_camera(view_targets(points, boxes, middle), size, elevation=28, azimuth=outlook.front)


def importance_figure(
    points: np.ndarray,
    importance: np.ndarray,
    selected: np.ndarray,
    boxes: np.ndarray,
    share_inside: float,
    title: str = "Where the teacher looks",
    subtitle: str = "",
    velocities: np.ndarray | None = None,
    outlook: Outlook = AHEAD,
) -> Image.Image:
    """One page: the importance of the points from behind and from above, the selected locations, the labelled boxes,
    and the share of selected locations inside boxes.

    points: (P, 3 or more) [m].
    importance: of the points (P,), >= 0.
    selected: locations (N, 3) [m].
    boxes: (B, 7).
    share_inside: of the selected locations, from 0 to 1.
    velocities: of the boxes (B, 2) [m/s].
    Raises MinkPDError if Open3D cannot render.
    """
    front = outlook.points(points, view_targets(points, boxes, selected))
    points, importance = points[front], importance[front]
    scene, scale = importance_scene(points, importance, selected, boxes, velocities, outlook)
    behind = importance_camera(points, selected, boxes, _BEHIND[2:], outlook)
    whole = np.concatenate([view_targets(points, boxes, selected), [[0.0, 0.0, 0.0]]])
    above = outlook.above(whole, _ABOVE[2:])
    pictures = render_images([(scene, behind, _BEHIND[2:]), (scene, above, _ABOVE[2:])])

    page = Page(title, subtitle or _SUBTITLE, width=1080)
    ground = ground_height(points)
    for pixels, camera, area, caption in (
        (pictures[0], behind, _BEHIND, "from behind the sensor"),
        (pictures[1], above, _ABOVE, "from above"),
    ):
        page.picture(pixels, area[:2], caption)
        page.range_labels(camera, area, RADII, ground, outlook.all_around)
    right = SIZE[0] - MARGIN
    right -= 16 + round(page.text((right, 18), f"{share_inside:.0%}", 56, SELECTED, bold=True, anchor="ra"))
    page.text((right, 34), f"of the {len(selected)} selected locations", 20, QUIET, anchor="ra")
    page.text((right, 60), "lie inside labelled objects", 20, QUIET, anchor="ra")
    page.colour_bar((MARGIN, 828), 400, scale, "importance to the teacher" + (" (log scale)" if scale.log else ""))
    legend = [
        Entry("circle", SELECTED, f"{len(selected)} most important locations, selected for distillation"),
        Entry("box", WHITE, f"{len(boxes)} labelled object{'s' * (len(boxes) != 1)}"),
    ]
    if velocities is not None:
        legend.append(Entry("arrow", WHITE, "1 s of motion"))
    page.legend((MARGIN + 470, 836), legend, gap=24)
    return page.image


def _radius(positions: np.ndarray) -> float:
    """Radius [m] at which circles around neighbouring positions (N, 3) just touch, clipped to a sensible range."""
    if len(positions) < 2:
        return _LARGEST
    distance = cKDTree(positions).query(positions, k=2)[0][:, 1]  # (N,) to the nearest other
    return float(np.clip(np.median(distance) / 2, _SMALLEST, _LARGEST))
