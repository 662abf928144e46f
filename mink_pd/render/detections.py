"""The figure of two detectors side by side (PointDistiller, Zhang et al. 2023, Figure 4)."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from mink_pd.boxes.geometry import corners, points_in_boxes
from mink_pd.render.camera import Camera, fit_camera
from mink_pd.render.colours import OKABE_ITO, height_greys
from mink_pd.render.offscreen import render_images
from mink_pd.render.page import MARGIN, QUIET, SIZE, Entry, Page
from mink_pd.render.scene import Colour, Points, Scene
from mink_pd.render.shapes import RADII, ahead, box_lines, ground_height, rings, view_targets

TRUE_POSITIVE, FALSE_POSITIVE, MISSED, IGNORED = "true positive", "false positive", "missed", "not judged"
COLOURS: dict[str, Colour] = {
    TRUE_POSITIVE: (0.0, 0.72, 0.53),  # Okabe and Ito's bluish green, lighter for the dark ground
    FALSE_POSITIVE: (0.95, 0.42, 0.10),  # their vermillion, likewise
    MISSED: OKABE_ITO["yellow"],
    IGNORED: (0.50, 0.54, 0.60),
}
_MEANINGS = {
    TRUE_POSITIVE: "true positive: fits an object",
    FALSE_POSITIVE: "false positive: fits no object",
    MISSED: "missed: an object that no detection fits",
    IGNORED: "not judged",  # too hard to see, or of another class
}
_GAP = 28  # [px] between the panels
_PANEL = (754, 620)  # [px]
_TOP = 176  # [px]
_ELEVATION = 38.0  # of the camera [degrees]
_BETWEEN = 6.0  # room between the panels in a window [m]
_TAG = (44, 20)  # width and height of a score [px]


@dataclass
class Panel:
    """One detector's result in one frame.

    boxes: (B, 7), detections and missed labels; outcomes: (B,) of TRUE_POSITIVE, FALSE_POSITIVE, MISSED,
    IGNORED; scores: (B,) [0..1], NaN where a box has none.
    """

    title: str
    boxes: np.ndarray
    outcomes: np.ndarray
    scores: np.ndarray

    def count(self, outcome: str) -> int:
        """How many boxes have that outcome."""
        return int(np.count_nonzero(self.outcomes == outcome))


def detections_scene(points: np.ndarray, panel: Panel) -> Scene:
    """Points (P, 3 or more) in grey, those inside boxes tinted; boxes in their outcome's colour."""
    scene = Scene()
    scene += rings(RADII, ground_height(points))
    colours = height_greys(points)
    inside = np.zeros(len(points), dtype=bool)
    for outcome in (IGNORED, MISSED, FALSE_POSITIVE, TRUE_POSITIVE):
        boxes = panel.boxes[panel.outcomes == outcome]
        within = points_in_boxes(points, boxes).any(axis=0)  # (P,)
        colours[within] = np.array(COLOURS[outcome]) / 2 + 0.5  # lighter than the box's lines
        inside |= within
        scene += box_lines(boxes, COLOURS[outcome], 1.5 if outcome == IGNORED else 3.0, dashed=outcome == MISSED)
    scene += [
        Points(points[~inside, :3], colours[~inside], 1.8),
        Points(points[inside, :3], colours[inside], 3.0),
    ]
    return scene


def detections_side_by_side(points: np.ndarray, left: Panel, right: Panel) -> tuple[Scene, Camera]:
    """Both panels in one scene for a window, the second to the right of the first, and a camera for it."""
    targets = _targets(points, [left, right])
    points = points[ahead(points, targets)]
    shift = np.array([0.0, -(np.ptp(targets[:, 1]) + _BETWEEN), 0.0])
    scene = detections_scene(points, left)
    scene += detections_scene(points, right).moved(shift).layers
    return scene, fit_camera(np.concatenate([targets, targets + shift]), SIZE, elevation=_ELEVATION)


def detections_figure(points: np.ndarray, left: Panel, right: Panel, title: str, subtitle: str = "") -> Image.Image:
    """One page: the same points (P, 3 or more) [m] with either panel's boxes, a legend and the counts.

    Raises MinkPDError where Open3D cannot render.
    """
    panels = [left, right]
    targets = _targets(points, panels)
    points = points[ahead(points, targets)]
    camera, ground = fit_camera(targets, _PANEL, elevation=_ELEVATION), ground_height(points)
    pictures = render_images([(detections_scene(points, panel), camera, _PANEL) for panel in panels])
    page = Page(title, subtitle or _change(left, right))
    for number, (panel, pixels) in enumerate(zip(panels, pictures, strict=True)):
        place = (MARGIN + number * (_PANEL[0] + _GAP), _TOP, *_PANEL)
        _heading(page, panel, place[0])
        page.picture(pixels, place[:2])
        page.range_labels(camera, place, RADII, ground)
        _scores(page, panel, camera, place)
    present = [outcome for outcome in COLOURS if outcome != IGNORED or left.count(IGNORED) + right.count(IGNORED)]
    page.legend(
        (MARGIN, 836),
        [
            Entry("dashed box" if outcome == MISSED else "box", COLOURS[outcome], _MEANINGS[outcome])
            for outcome in present
        ],
    )
    page.text((MARGIN, 868), "Arrow on the roof: the heading. Number: the detector's score.", 16, QUIET)
    return page.image


def _targets(points: np.ndarray, panels: list[Panel]) -> np.ndarray:
    return view_targets(points, np.concatenate([panel.boxes for panel in panels]))


def _change(left: Panel, right: Panel) -> str:
    parts = [
        f"{name} {left.count(outcome)} → {right.count(outcome)}"
        for name, outcome in (
            ("true positives", TRUE_POSITIVE),
            ("false positives", FALSE_POSITIVE),
            ("missed", MISSED),
        )
    ]
    return f"From {left.title} to {right.title}: {', '.join(parts)}."


def _heading(page: Page, panel: Panel, left: int) -> None:
    """The panel's name on the left, its counts in the outcomes' colours on the right."""
    page.text((left, _TOP - 24), panel.title, 26, bold=True, anchor="lm")
    x = float(left + _PANEL[0])
    for outcome, word in ((MISSED, "missed"), (FALSE_POSITIVE, "false"), (TRUE_POSITIVE, "correct")):
        x -= page.text((x, _TOP - 24), word, 20, COLOURS[outcome], anchor="rm") + 8
        x -= page.text((x, _TOP - 24), str(panel.count(outcome)), 30, COLOURS[outcome], bold=True, anchor="rm") + 26


def _scores(page: Page, panel: Panel, camera: Camera, place: tuple[int, int, int, int]) -> None:
    """Each score above its box, for what is judged; where they would cover each other, the highest."""
    x, y, width, height = place
    vertices, taken = corners(panel.boxes), np.zeros((0, 2))  # (B, 8, 3); (n, 2) [px], where tags stand
    for index in np.argsort(-np.nan_to_num(panel.scores), kind="stable"):
        outcome, score = panel.outcomes[index], panel.scores[index]
        pixels, depth = camera.project(vertices[index], (width, height))  # (8, 2), (8,)
        column, row = pixels[:, 0].mean(), max(pixels[:, 1].min() - 6, 24.0)
        visible = depth.min() > 0 and 24 < column < width - 24 and row < height
        free = (np.abs(taken - (column, row)) >= _TAG).any(axis=1).all()
        if visible and free and outcome != IGNORED and np.isfinite(score):
            page.tag((x + column, y + row), f"{score:.2f}", COLOURS[outcome])
            taken = np.concatenate([taken, [[column, row]]])
