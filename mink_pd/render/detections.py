"""The figure of two detectors side by side (PointDistiller, Zhang et al. 2023, Figure 4)."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from mink_pd.boxes.geometry import corners, points_in_boxes
from mink_pd.evaluate.panel import FALSE_POSITIVE, IGNORED, MISSED, TRUE_POSITIVE, Panel
from mink_pd.render.camera import Camera
from mink_pd.render.colours import CLASSES, OKABE_ITO, WHITE, height_greys
from mink_pd.render.offscreen import render_images
from mink_pd.render.outlook import AHEAD, Outlook
from mink_pd.render.scene import Colour, Lines, Points, Scene
from mink_pd.render.shapes import RADII, box_lines, ground_height, rings, velocity_arrows, view_targets
from mink_pd.render.sheet import MARGIN, QUIET, SIZE, TEXT, Entry, Glyph, Page

COLOURS: dict[str, Colour] = {
    TRUE_POSITIVE: (0.0, 0.72, 0.53),  # Okabe and Ito's bluish green, lighter for the dark background
    FALSE_POSITIVE: (0.95, 0.42, 0.10),  # their vermillion, also lighter
    MISSED: OKABE_ITO["yellow"],
    IGNORED: (0.50, 0.54, 0.60),
}
_MEANINGS = {
    TRUE_POSITIVE: "true positive: matches an object",
    FALSE_POSITIVE: "false positive: matches no object",
    MISSED: "missed: an object without a matching detection",
    IGNORED: "not judged",  # an object that is too hard to see, or of another class
}
_GLYPHS: dict[str, Glyph] = {  # used where colours show the class
    TRUE_POSITIVE: "box",
    FALSE_POSITIVE: "crossed box",
    MISSED: "dashed box",
    IGNORED: "box",
}
_GAP = 28  # [px] between the panels
_PANEL = (754, 620)  # [px]
_TOP = 176  # [px]
_ELEVATION = 38.0  # of the camera [degrees]
_BETWEEN = 6.0  # gap between the panels in a window [m]
_TAG = (44, 20)  # width and height of a score [px]


def detections_scene(points: np.ndarray, panel: Panel, outlook: Outlook = AHEAD) -> Scene:
    """Points (P, 3 or more) in grey, tinted inside boxes, and boxes in the colour of their outcome or class."""
    scene = Scene()
    scene += rings(RADII, ground_height(points), outlook.all_around)
    colours = height_greys(points)
    inside = np.zeros(len(points), dtype=bool)
    by_class = panel.names is not None
    for outcome, colour, boxes in _looks(panel):
        within = points_in_boxes(points, boxes).any(axis=0)  # (P,)
        colours[within] = np.array(colour) / 2 + 0.5  # lighter than the box's lines
        inside |= within
        crossed = by_class and outcome == FALSE_POSITIVE
        scene += box_lines(boxes, colour, 1.5 if outcome == IGNORED else 3.0, outcome == MISSED, crossed)
    if panel.velocities is not None:
        scene += Lines(velocity_arrows(panel.boxes, panel.velocities), WHITE, 2.0)
    scene += [
        Points(points[~inside, :3], colours[~inside], 1.8),
        Points(points[inside, :3], colours[inside], 3.0),
    ]
    return scene


def detections_side_by_side(
    points: np.ndarray, left: Panel, right: Panel, outlook: Outlook = AHEAD
) -> tuple[Scene, Camera]:
    """One scene with both panels for a window, the second to the right of the first, and its camera."""
    targets = _targets(points, [left, right])
    points = points[outlook.points(points, targets)]
    to_right = np.array([np.sin(np.radians(outlook.front)), -np.cos(np.radians(outlook.front)), 0.0])
    shift = (np.ptp(targets @ to_right) + _BETWEEN) * to_right
    scene = detections_scene(points, left, outlook)
    scene += detections_scene(points, right, outlook).moved(shift).layers
    return scene, outlook.camera(np.concatenate([targets, targets + shift]), SIZE, _ELEVATION)


def detections_figure(
    points: np.ndarray, left: Panel, right: Panel, title: str, subtitle: str = "", outlook: Outlook = AHEAD
) -> Image.Image:
    """One page: the points (P, 3 or more) [m] with the boxes of each panel, a legend and the counts.

    Raises MinkPDError if Open3D cannot render.
    """
    panels = [left, right]
    targets = _targets(points, panels)
    points = points[outlook.points(points, targets)]
    camera, ground = outlook.camera(targets, _PANEL, _ELEVATION), ground_height(points)
    pictures = render_images([(detections_scene(points, panel, outlook), camera, _PANEL) for panel in panels])
    page = Page(title, subtitle or _change(left, right))
    for number, (panel, pixels) in enumerate(zip(panels, pictures, strict=True)):
        area = (MARGIN + number * (_PANEL[0] + _GAP), _TOP, *_PANEL)
        _heading(page, panel, area[0])
        page.picture(pixels, area[:2])
        page.range_labels(camera, area, RADII, ground, outlook.all_around)
        _scores(page, panel, camera, area)
    _legend(page, panels)
    return page.image


def _looks(panel: Panel) -> Iterator[tuple[str, Colour, np.ndarray]]:
    """Groups of boxes (b, 7) that are drawn alike, with their outcome and colour."""
    for outcome in (IGNORED, MISSED, FALSE_POSITIVE, TRUE_POSITIVE):
        here = panel.outcomes == outcome
        if panel.names is None or outcome == IGNORED:
            yield outcome, COLOURS[outcome], panel.boxes[here]
        else:
            for name, colour in CLASSES.items():
                yield outcome, colour, panel.boxes[here & (panel.names == name)]


def _legend(page: Page, panels: list[Panel]) -> None:
    """Draw the legend of colours, lines and arrows."""
    present = [outcome for outcome in COLOURS if outcome != IGNORED or any(p.count(IGNORED) for p in panels)]
    if panels[0].names is None:
        entries = [Entry("dashed box" if o == MISSED else "box", COLOURS[o], _MEANINGS[o]) for o in present]
        page.legend((MARGIN, 836), entries)
        page.text((MARGIN, 868), "Arrow on the roof: the heading. Number: the detector's score.", 16, QUIET)
        return
    shown = {name for panel in panels if panel.names is not None for name in panel.names}
    classes = [Entry("box", CLASSES[name], name.replace("_", " ")) for name in CLASSES if name in shown]
    page.legend((MARGIN, 828), classes, gap=22)
    entries = [Entry(_GLYPHS[o], COLOURS[IGNORED] if o == IGNORED else QUIET, o) for o in present]
    page.legend((MARGIN, 866), [*entries, Entry("arrow", WHITE, "velocity: one second of motion")])


def _targets(points: np.ndarray, panels: list[Panel]) -> np.ndarray:
    boxes = np.concatenate([panel.boxes for panel in panels])
    moving = [panel.velocities for panel in panels if panel.velocities is not None]
    tips = velocity_arrows(boxes, np.concatenate(moving)).reshape(-1, 3) if moving else None
    return view_targets(points, boxes, tips)


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
    """Write the panel's name on the left and its counts on the right, in the colours of the outcomes if boxes use
    them."""
    page.text((left, _TOP - 24), panel.title, 26, bold=True, anchor="lm")
    x = float(left + _PANEL[0])
    for outcome, word in ((MISSED, "missed"), (FALSE_POSITIVE, "false"), (TRUE_POSITIVE, "correct")):
        colour = TEXT if panel.names is not None else COLOURS[outcome]
        x -= page.text((x, _TOP - 24), word, 20, colour, anchor="rm") + 8
        x -= page.text((x, _TOP - 24), str(panel.count(outcome)), 30, colour, bold=True, anchor="rm") + 26


def _scores(page: Page, panel: Panel, camera: Camera, area: tuple[int, int, int, int]) -> None:
    """Write the score above each judged box. Of scores that would overlap only the highest is written."""
    x, y, width, height = area
    vertices, taken = corners(panel.boxes), np.zeros((0, 2))  # (B, 8, 3); (n, 2) positions of the tags [px]
    looks = panel.outcomes if panel.names is None else panel.names
    for index in np.argsort(-np.nan_to_num(panel.scores), kind="stable"):
        outcome, score = panel.outcomes[index], panel.scores[index]
        pixels, depth = camera.project(vertices[index], (width, height))  # (8, 2), (8,)
        column, row = pixels[:, 0].mean(), max(pixels[:, 1].min() - 6, 24.0)
        visible = depth.min() > 0 and 24 < column < width - 24 and row < height
        free = (np.abs(taken - (column, row)) >= _TAG).any(axis=1).all()
        if visible and free and outcome != IGNORED and np.isfinite(score):
            page.tag((x + column, y + row), f"{score:.2f}", (COLOURS | CLASSES)[looks[index]])
            taken = np.concatenate([taken, [[column, row]]])
