"""What figures are made of, without rendering: cameras, scales, shapes, scenes and counts."""

import numpy as np
import pytest

from mink_pd.boxes.geometry import corners
from mink_pd.data import View
from mink_pd.errors import DataError
from mink_pd.render import FALSE_POSITIVE, MISSED, TRUE_POSITIVE, Lines, Panel, Points, choose_frame, importance_picture
from mink_pd.render import detections as detections_module
from mink_pd.render.camera import fit_camera
from mink_pd.render.colours import CLASSES, OKABE_ITO, WHITE, encode_srgb, scale_of
from mink_pd.render.detections import COLOURS, _scores, detections_figure, detections_scene, detections_side_by_side
from mink_pd.render.importance_picture import SELECTED, importance_figure, importance_scene
from mink_pd.render.outlook import AHEAD, Outlook
from mink_pd.render.shapes import box_edges, circles, dashes, rings, velocity_arrows, view_targets
from mink_pd.render.sheet import PAGE, SIZE, Page, rgb

RNG = np.random.default_rng(0)
BOXES = np.array([[12.0, 1.0, -1.0, 4.0, 1.7, 1.5, 0.3], [25.0, -4.0, -0.9, 0.8, 0.6, 1.7, 2.0]])
POINTS = np.concatenate([RNG.uniform([0, -15, -2, 0], [50, 15, 1, 1], (500, 4)), np.c_[BOXES[:, :3], [0.5, 0.5]]])


@pytest.mark.parametrize("elevation", [10.0, 40.0, 90.0])
@pytest.mark.parametrize("size", [(1600, 900), (300, 700)])
def test_fitted_camera_sees_every_target_and_is_as_near_as_can_be(elevation: float, size: tuple[int, int]) -> None:
    targets = RNG.uniform([5, -20, -2], [60, 10, 2], (50, 3))
    camera = fit_camera(targets, size, elevation, azimuth=15)
    pixels, depth = camera.project(targets, size)
    assert ((depth > camera.near) & (depth < camera.far)).all()
    assert (pixels >= -1e-6).all()
    assert (pixels <= np.array(size) + 1e-6).all()
    gap = np.concatenate([pixels.min(axis=0), size - pixels.max(axis=0)])
    assert np.sort(gap)[1] < 1e-6  # two opposite sides are touched
    assert gap[0] == pytest.approx(gap[2]) or gap[1] == pytest.approx(gap[3])


def test_camera_from_above_has_x_up_and_y_to_the_left() -> None:
    camera = fit_camera(np.array([[0.0, -10, 0], [40, 10, 0]]), SIZE, elevation=90)
    (ahead, left), _ = camera.project(np.array([[30.0, 0, 0], [20, 5, 0]]), SIZE)
    assert ahead[1] < SIZE[1] / 2
    assert left[0] < SIZE[0] / 2


def test_scale_is_logarithmic_where_values_spread_widely() -> None:
    wide = scale_of(10 ** RNG.uniform(-3, 2, 1000))
    assert wide.log
    assert wide.high / wide.low <= 1001
    narrow = scale_of(np.arange(1.0, 11.0))
    assert not narrow.log
    for scale in (wide, narrow):
        assert scale(np.array([scale.low, scale.high, 0.0, 1e9])) == pytest.approx([0, 1, 0, 1])
        for fraction in (0.0, 0.3, 1.0):
            assert scale(np.array(scale.value(fraction))) == pytest.approx(fraction)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [3.0, 3.0], [np.nan, 1.0]])
def test_scale_of_odd_values_is_finite(values: list[float]) -> None:
    scale = scale_of(np.array(values))
    assert np.isfinite(scale(np.array([0.0, 1.0, 3.0]))).all()


def test_srgb_is_undone_by_its_published_inverse() -> None:
    linear = np.linspace(0, 1, 101)
    encoded = encode_srgb(linear)
    low = encoded / 12.92
    high = ((encoded + 0.055) / 1.055) ** 2.4
    assert np.where(encoded <= 0.04045, low, high) == pytest.approx(linear)


def test_box_edges_are_twelve_sides_and_an_arrow_to_the_front() -> None:
    edges = box_edges(BOXES[:1]).reshape(15, 2, 3)
    lengths = np.sort(np.linalg.norm(edges[:12, 1] - edges[:12, 0], axis=1))
    assert lengths == pytest.approx(np.repeat([1.5, 1.7, 4.0], 4))
    front = BOXES[0, :2] + 2.0 * np.array([np.cos(0.3), np.sin(0.3)])
    assert edges[12, 1] == pytest.approx([*front, -0.25])


def test_dashes_lie_on_their_segment_and_keep_its_ends() -> None:
    segment = np.array([[[1.0, 2.0, 3.0], [4.0, 2.0, 7.0]]])
    pieces = dashes(segment)
    along = (pieces - segment[0, 0]) @ np.array([0.6, 0.0, 0.8])  # (D, 2) [m]
    assert np.abs(np.cross(pieces - segment[0, 0], [0.6, 0, 0.8])).max() < 1e-9
    assert (along.min(), along.max()) == pytest.approx((0.0, 5.0))
    assert 0.4 < (along[:, 1] - along[:, 0]).sum() / 5.0 < 0.7
    assert (along[1:, 0] > along[:-1, 1]).all()
    point = np.ones((1, 2, 3))
    assert np.isfinite(dashes(point)).all()
    assert dashes(np.zeros((0, 2, 3))).shape == (0, 2, 3)


def test_circles_have_their_radius_and_centre() -> None:
    ends = circles(POINTS[:3, :3], 0.4).reshape(3, -1, 3)
    assert np.linalg.norm(ends - POINTS[:3, None, :3], axis=2) == pytest.approx(0.4)


def test_view_holds_the_boxes_or_the_road_ahead() -> None:
    targets = view_targets(POINTS, BOXES)
    assert (targets.min(axis=0)[:2] < BOXES.min(axis=0)[:2]).all()
    assert (targets.max(axis=0)[:2] > BOXES.max(axis=0)[:2]).all()
    nothing = view_targets(np.zeros((0, 4)), np.zeros((0, 7)))
    assert np.isfinite(nothing).all()
    assert nothing[:, 0].max() > 30


def panel(*outcomes: str) -> Panel:
    scores = np.where(np.array(outcomes) == MISSED, np.nan, 0.7)
    return Panel("student", BOXES[: len(outcomes)], np.array(outcomes), scores)


def test_detections_scene_draws_each_box_and_its_points_by_outcome() -> None:
    scene = detections_scene(POINTS, panel(TRUE_POSITIVE, MISSED))
    drawn = {layer.colour: layer.segments for layer in scene.layers if isinstance(layer, Lines)}
    assert drawn[COLOURS[TRUE_POSITIVE]] == pytest.approx(box_edges(BOXES[:1]))
    assert len(drawn[COLOURS[FALSE_POSITIVE]]) == 0
    assert len(drawn[COLOURS[MISSED]]) > 15  # dashed
    clouds = [layer for layer in scene.layers if isinstance(layer, Points)]
    assert sum(len(layer.positions) for layer in clouds) == len(POINTS)
    inside = clouds[1].positions  # the box centres are points
    assert (np.abs(inside[:, None] - BOXES[None, :, :3]).max(axis=2) < 1e-9).any(axis=0).all()


def test_importance_scene_keeps_points_and_ranks_their_brightness() -> None:
    importance = np.arange(1.0, len(POINTS) + 1)
    scene, scale = importance_scene(POINTS, importance, POINTS[:7, :3], BOXES)
    clouds = [layer for layer in scene.layers if isinstance(layer, Points)]
    assert sum(len(layer.positions) for layer in clouds) == len(POINTS)
    assert clouds[0].colours.mean() < clouds[1].colours.mean() < clouds[2].colours.mean()
    (rings,) = [layer for layer in scene.layers if isinstance(layer, Lines) and layer.colour == SELECTED]
    assert len(rings.segments) % 7 == 0
    assert scale.high <= importance.max()


def test_two_panels_in_a_window_do_not_overlap() -> None:
    scene, camera = detections_side_by_side(POINTS, panel(TRUE_POSITIVE), panel(TRUE_POSITIVE))
    first, second = [
        layer.segments for layer in scene.layers if isinstance(layer, Lines) and layer.colour == COLOURS[TRUE_POSITIVE]
    ]
    assert second[..., 1].max() < first[..., 1].min() - 10
    for boxes in (first, second):
        pixels, _ = camera.project(boxes.reshape(-1, 3), SIZE)
        assert ((pixels > 0) & (pixels < np.array(SIZE))).all()


def has(image: np.ndarray, colour: tuple[float, float, float]) -> int:
    return int((image == np.array(rgb(colour))).all(axis=-1).sum())


def test_figures_are_composed_of_pictures_counts_and_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    def blank(shots: list) -> list[np.ndarray]:
        return [np.zeros((size[1], size[0], 3), np.uint8) for _, _, size in shots]

    monkeypatch.setattr(detections_module, "render_images", blank)
    monkeypatch.setattr(importance_picture, "render_images", blank)
    figure = np.asarray(detections_figure(POINTS, panel(TRUE_POSITIVE, FALSE_POSITIVE), panel(MISSED), "title"))
    assert figure.shape == (SIZE[1], SIZE[0], 3)
    assert all(has(figure, COLOURS[outcome]) for outcome in (TRUE_POSITIVE, FALSE_POSITIVE, MISSED))
    assert has(figure, PAGE) > 200_000
    empty = np.zeros((0, 3))
    for selected, boxes in ((POINTS[:9, :3], BOXES), (empty, np.zeros((0, 7)))):
        picture = importance_figure(POINTS, np.ones(len(POINTS)), selected, boxes, 0.5)
        assert has(np.asarray(picture), OKABE_ITO["sky blue"]) > 100
    importance_figure(np.zeros((0, 4)), np.zeros(0), empty, np.zeros((0, 7)), 0.0)
    around = np.asarray(detections_figure(POINTS, moving(MISSED), moving(TRUE_POSITIVE), "title", outlook=AROUND))
    assert has(around, CLASSES["car"]) > 30
    assert has(around, CLASSES["bus"]) == 0
    moves = np.array([[1.0, 0.0], [0.0, 2.0]])
    importance_figure(POINTS, np.ones(len(POINTS)), empty, BOXES, 0.5, velocities=moves, outlook=AROUND)


AROUND = Outlook(View(all_around=True, front=90))


def test_arrows_lead_to_where_the_roof_is_a_second_later() -> None:
    boxes = np.concatenate([BOXES, BOXES])
    velocities = np.array([[3.0, -4.0], [0.1, 0.1], [np.nan, np.nan], [-12.0, 0.0]])
    shafts = velocity_arrows(boxes, velocities).reshape(-1, 3, 2, 3)[:, 0]
    roofs = boxes[[0, 3], :3] + np.array([[0, 0, 0.75], [0, 0, 0.85]])
    assert shafts[:, 0] == pytest.approx(roofs)
    assert shafts[:, 1] == pytest.approx(roofs + np.array([[3, -4, 0], [-12, 0, 0]]))
    strokes = velocity_arrows(BOXES[:1], velocities[:1])
    assert (strokes[1:, 0] == strokes[0, 1]).all()  # both barbs begin at the tip, and turn back
    assert ((strokes[1:, 1] - strokes[1:, 0]) @ np.array([3.0, -4, 0]) < 0).all()


def moving(*outcomes: str) -> Panel:
    one = panel(*outcomes)
    one.names = np.array(["car", "pedestrian"])[: len(outcomes)]
    one.velocities = np.array([[0.0, 40.0], [np.nan, np.nan]])[: len(outcomes)]
    return one


def test_all_around_boxes_are_coloured_by_class_and_nothing_is_cut() -> None:
    scene = detections_scene(POINTS, moving(FALSE_POSITIVE, MISSED), AROUND)
    drawn: dict[tuple[float, float, float], list[np.ndarray]] = {}
    for layer in scene.layers:
        if isinstance(layer, Lines) and len(layer.segments):
            drawn.setdefault(layer.colour, []).append(layer.segments)
    (car,), (arrow,) = drawn[CLASSES["car"]], drawn[WHITE]
    assert len(car) == 12 + 2  # sides and a crossed roof
    assert car[12:].mean(axis=1) == pytest.approx(np.array([[12.0, 1.0, -0.25]] * 2))
    assert len(drawn[CLASSES["pedestrian"]][0]) > 15
    assert arrow == pytest.approx(velocity_arrows(BOXES[:1], np.array([[0.0, 40.0]])))
    behind = np.array([[-90.0, 3.0, 0.0]])
    assert AROUND.points(behind, np.zeros((1, 3))).all()
    assert not AHEAD.points(behind, np.zeros((1, 3))).any()
    whole = rings([10.0], 0.0, whole=True).segments.reshape(-1, 3)
    assert (whole.min(axis=0), whole.max(axis=0)) == (pytest.approx([-10, -10, 0]), pytest.approx([10, 10, 0]))


def test_all_around_the_front_is_up() -> None:
    """nuScenes' LiDAR has y ahead and x to the right; the arrow's tip is in the picture too."""
    scene, camera = detections_side_by_side(POINTS, moving(TRUE_POSITIVE), moving(TRUE_POSITIVE), AROUND)
    (centre, front, right), _ = camera.project(np.array([[0.0, 0, 0], [0, 5, 0], [5, 0, 0]]), SIZE)
    assert front[1] < centre[1]
    assert right[0] > centre[0]
    arrows = [layer.segments for layer in scene.layers if isinstance(layer, Lines) and layer.colour == WHITE]
    assert arrows[1][..., 0].min() > arrows[0][..., 0].max() + 5  # the second panel to the right of the first
    for arrow in arrows:
        pixels, _ = camera.project(arrow.reshape(-1, 3), SIZE)
        assert ((pixels > 0) & (pixels < np.array(SIZE))).all()


def test_counts_of_a_panel() -> None:
    assert panel(TRUE_POSITIVE, MISSED).count(MISSED) == 1
    assert panel().count(TRUE_POSITIVE) == 0


def test_chosen_frame_is_the_named_or_the_fullest(shared) -> None:
    from mink_pd.data.datasets.kitti_dataset import Kitti

    dataset = Kitti(shared("kitti_real"), "all")
    everything, near = (-100.0, -100.0, -10.0, 100.0, 100.0, 10.0), (0.0, -2.0, -10.0, 12.0, 2.0, 10.0)
    assert choose_frame(dataset, everything, "000003").id == "000003"
    assert choose_frame(dataset, everything, None).id == "000008"  # six cars, the most in these files
    assert choose_frame(dataset, near, None).id != "000008"
    with pytest.raises(DataError, match="000099"):
        choose_frame(dataset, everything, "000099")


def test_of_scores_that_would_cover_each_other_the_highest_is_written() -> None:
    class Written(Page):
        def __init__(self) -> None:
            self.tags: list[str] = []

        def tag(self, at: tuple[float, float], text: str, *style: object) -> None:  # type: ignore[override]
            self.tags.append(text)

    boxes = np.array([[20.0, y, -1.0, 3.9, 1.6, 1.5, 0.0] for y in (0.0, 0.3, 5.0)])
    panel = Panel("a", boxes, np.array([FALSE_POSITIVE] * 3), np.array([0.4, 0.9, 0.2]))
    page, size = Written(), (754, 620)
    camera = fit_camera(corners(boxes).reshape(-1, 3), size, elevation=38)
    _scores(page, panel, camera, (0, 0, *size))
    assert page.tags == ["0.90", "0.20"]
