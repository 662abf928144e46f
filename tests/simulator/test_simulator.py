"""The simulator against geometry worked out here: projections by hand, shapely, a k-d tree."""

import numpy as np
import pytest
from shapely.geometry import Polygon
from shapely.strtree import STRtree

from mink_pd.data.objects import Objects
from mink_pd.simulator.actors import SIZES, draw_size
from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.ground import Ground, Road, Waves
from mink_pd.simulator.kitti_labels import FAR, FEW_POINTS, make_labels, occlusion
from mink_pd.simulator.mesh import box, merge
from mink_pd.simulator.moving_scene import Scene, Snapshot, Thing
from mink_pd.simulator.rig import HDL64E, IMAGE_SIZE, calibration
from mink_pd.simulator.sensor import Scan, scan
from mink_pd.simulator.street import random_scene
from mink_pd.simulator.world import VARIED, WORLDS, World

Frame = tuple[Scene, Snapshot, Scan, Objects]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Eight frames with what they were made from."""
    result = []
    for frame in range(8):
        rng = frame_rng(3, frame)
        scene = random_scene(rng)
        snapshot = scene.snapshot()
        points = scan(snapshot, rng)
        result.append((scene, snapshot, points, make_labels(snapshot, points)))
    return result


def flat_scene(*things: Thing) -> Scene:
    """Things on a level plane."""
    none = Waves(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    ground = Ground(np.zeros(2), none, Road(0.0, 0.0), (-3.0, 3.0), (0.3, 0.3))
    return Scene(ground, (np.linspace(-100, 100, 21), np.linspace(-100, 100, 21)), list(things))


def standing_car(x: float, y: float = 0.0, yaw: float = 0.0) -> Thing:
    size = (4.0, 1.7, 1.5)
    return Thing("Car", VARIED.build(np.random.default_rng(1), "Car", size), size, x, y, yaw, labelled=True)


def wall(x: float, y_from: float, y_to: float) -> Thing:
    mesh = merge(box((-0.1, y_from, -1.0), (0.1, y_to, 6.0), 0.4))
    return Thing("wall", mesh, (0.2, 2 * max(abs(y_from), abs(y_to)), 6.0), x, 0.0, 0.0)


def kitti_corners(objects: Objects, row: int) -> np.ndarray:
    """(8, 3) corners in the camera frame from the label's own fields, as the benchmark defines them."""
    h, w, length = objects.dimensions[row]
    cos, sin = np.cos(objects.rotation_y[row]), np.sin(objects.rotation_y[row])
    eight = np.array([(a * length, b * h, c * w) for a in (-0.5, 0.5) for b in (-1, 0) for c in (-0.5, 0.5)])
    return eight @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T + objects.location[row]


def labelled(objects: Objects) -> Objects:
    return objects[objects.names != "DontCare"]


# -- reproducible


def test_no_two_things_intersect(frames: list[Frame]) -> None:
    for scene, *_ in frames:
        shapes = []
        for thing in scene.things:
            length, width, _ = thing.size
            corner = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2 * (length, width)
            cos, sin = np.cos(thing.yaw), np.sin(thing.yaw)
            shapes.append(Polygon(corner @ np.array([[cos, sin], [-sin, cos]]) + (thing.x, thing.y)))
        for one, other in STRtree(shapes).query(shapes, predicate="intersects").T:
            assert one == other, (scene.things[one].name, scene.things[other].name)


def test_objects_rest_on_uneven_ground(frames: list[Frame]) -> None:
    heights = []
    for scene, snapshot, *_ in frames:
        bottom = snapshot.boxes[:, 2] - snapshot.boxes[:, 5] / 2
        ground = scene.ground.height(snapshot.boxes[:, 0], snapshot.boxes[:, 1]) - HDL64E.height
        np.testing.assert_allclose(bottom, ground, atol=1e-9)
        heights.append(bottom)
    assert 0.1 < np.concatenate(heights).std() < 1.0


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("name", SIZES)
def test_sizes_follow_kitti(name: str, world: World) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([draw_size(rng, name) for _ in range(400)])
    mean, deviation = np.array(SIZES[name]).T
    assert (np.abs(sizes.mean(0) - mean) < 4 * deviation / 20).all()
    assert (np.abs(sizes.std(0) / deviation - 1) < 0.2).all()
    mesh = world.build(rng, name, tuple(sizes[0]))
    assert (np.ptp(mesh.vertices, axis=0) < sizes[0]).all()
    assert (np.ptp(mesh.vertices, axis=0) > sizes[0] - 0.13).all()


def test_scenes_are_as_full_as_they_should_be(frames: list[Frame]) -> None:
    names = np.concatenate([objects.names for *_, objects in frames])
    for name in ("Car", "Pedestrian", "Cyclist", "DontCare"):
        assert (names == name).sum() >= 8
    for scene, _, points, _ in frames:
        clutter = [t for t in scene.things if not t.labelled and t.name not in ("facade", "thicket")]
        assert 10 <= len(clutter) <= 33
        assert 12_000 < len(points.points) < 22_000


# -- sensor


def test_beams_are_those_of_an_hdl64() -> None:
    degrees = np.degrees(HDL64E.elevations())
    assert (degrees[0], degrees[-1], len(degrees)) == (2.0, -24.9, 64)
    np.testing.assert_allclose(-np.diff(degrees[:32]), 1 / 3, atol=0.01)
    np.testing.assert_allclose(-np.diff(degrees[32:]), 1 / 2, atol=0.02)


def test_range_noise_and_full_turn() -> None:
    result = scan(flat_scene(wall(20.0, -8, 8)).snapshot(), np.random.default_rng(0), camera_view=False)
    x = result.points[result.owner == 0, 0]
    assert len(x) > 1000
    depth = x - 19.9
    assert abs(depth.mean()) < 0.003
    assert 0.9 * HDL64E.range_noise < depth.std() < 1.05 * HDL64E.range_noise
    azimuth = np.degrees(np.arctan2(result.points[:, 1], result.points[:, 0]))
    assert np.histogram(azimuth, 36, (-180, 180))[0].min() > 1000


def returned(x: float, yaw: float) -> float:
    """Share of the rays that hit a wall, turned by yaw, and come back."""
    thing = wall(x, -6, 6)
    thing.yaw, thing.labelled = yaw, True
    result = scan(flat_scene(thing).snapshot(), np.random.default_rng(0))
    return (result.owner == 0).sum() / result.reached[0]


def test_dropout_grows_with_range_and_grazing_angle() -> None:
    assert returned(15, 0) > 0.97
    assert returned(75, 1.45) < returned(40, 1.45) < returned(15, 1.45) + 1e-9
    assert returned(75, 1.45) < returned(75, 0) - 0.05


def test_level_ground_fades_with_range() -> None:
    points = scan(flat_scene().snapshot(), np.random.default_rng(0), camera_view=False).points
    distance = np.hypot(points[:, 0], points[:, 1])
    degrees = np.degrees(HDL64E.elevations())
    share = []
    for beam, height in ((34, 0.12), (20, 0.207), (11, 0.207)):  # ground at 10 m, 24 m and 63 m
        there = (HDL64E.height + height) / np.tan(-np.radians(degrees[beam]))
        share.append((np.abs(distance - there) < 0.08 * there / 2).sum() / 2000)
    assert share[0] > 0.95
    assert share[0] > share[1] > 2 * share[2] > 0


# -- labels


def test_points_lie_in_their_boxes(frames: list[Frame]) -> None:
    rig = calibration()
    inside = total = 0
    for _, snapshot, points, objects in frames:
        objects = labelled(objects)
        camera = rig.lidar_to_camera(points.points[:, :3].astype(float))
        centres = rig.lidar_to_camera(snapshot.boxes[:, :3])
        for row in range(len(objects)):
            h, w, length = objects.dimensions[row]
            middle = objects.location[row] - (0, h / 2, 0)
            thing = np.linalg.norm(centres - middle, axis=1).argmin()
            own = camera[points.owner == thing] - objects.location[row]
            cos, sin = np.cos(objects.rotation_y[row]), np.sin(objects.rotation_y[row])
            along, across = own[:, 0] * cos - own[:, 2] * sin, own[:, 0] * sin + own[:, 2] * cos
            in_box = (np.abs(along) <= length / 2) & (np.abs(across) <= w / 2) & (own[:, 1] <= 0)
            in_box &= own[:, 1] >= -h
            assert in_box.mean() >= 0.95 or len(own) < 40, (objects.names[row], len(own), in_box.mean())
            inside, total = inside + in_box.sum(), total + len(own)
    assert total > 5000
    assert inside / total > 0.95


def test_image_boxes_truncation_and_alpha(frames: list[Frame]) -> None:
    truncated = []
    for *_, objects in frames:
        objects = labelled(objects)
        for row in range(len(objects)):
            eight = kitti_corners(objects, row)
            x, _, z = objects.location[row]
            turn = objects.alpha[row] - (objects.rotation_y[row] - np.arctan2(x, z))
            assert np.isclose(np.cos(turn), 1)
            if eight[:, 2].min() < 1:
                continue
            pixels, _ = calibration().project(eight)
            whole = np.concatenate([pixels.min(0), pixels.max(0)])
            cut = np.clip(whole, 0, np.tile(np.array(IMAGE_SIZE) - 1, 2))
            # The box stands upright in the LiDAR frame, which is up to a degree off the camera's.
            np.testing.assert_allclose(objects.bbox[row], cut, atol=0.02 * np.ptp(whole[1::2]) + 2)
            outside = 1 - np.prod(cut[2:] - cut[:2]) / np.prod(whole[2:] - whole[:2])
            assert abs(objects.truncated[row] - outside) < 0.05
            truncated.append(objects.truncated[row])
    assert min(truncated) == 0
    assert max(truncated) > 0.1
    assert max(truncated) < 1


def test_occlusion_levels() -> None:
    reached, possible = np.array([100, 80, 79, 40, 39, 10, 9, 0]), np.full(8, 100)
    assert occlusion(reached, possible).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("y_to", "level"), [(None, 0), (-0.1, 1), (0.55, 2), (9.0, None)])
def test_occlusion_behind_a_wall(y_to: float | None, level: int | None) -> None:
    things = [standing_car(20.0, 0.0, np.pi / 2)]  # 4 m of it across our view
    if y_to is not None:
        things.append(wall(10.0, -9.0, y_to))
    snapshot = flat_scene(*things).snapshot()
    result = scan(snapshot, np.random.default_rng(0))
    free = scan(flat_scene(things[0]).snapshot(), np.random.default_rng(0))
    assert free.possible[0] == pytest.approx(free.reached[0], abs=0)  # nothing in the way, by another cast
    assert result.possible[0] == free.reached[0]
    objects = make_labels(snapshot, result)
    if level is None:
        assert len(objects) == 0  # no point, no label
    else:
        assert objects.occluded.tolist() == [level]


def test_dont_care_regions(frames: list[Frame]) -> None:
    ignored = 0
    for _, snapshot, points, objects in frames:
        count = np.bincount(points.owner[points.owner >= 0], minlength=len(snapshot.boxes))
        depth = calibration().lidar_to_camera(snapshot.boxes[:, :3])[:, 2]
        few = snapshot.labelled & (count > 0) & (count < FEW_POINTS) & (depth > FAR)
        rows = objects[objects.names == "DontCare"]
        assert few.sum() - 1 <= len(rows) <= few.sum()  # one may be cut off by the image's border
        assert len(labelled(objects)) <= (snapshot.labelled & (count > 0)).sum() - len(rows)
        ignored += len(rows)
        fields = np.column_stack([rows.truncated, rows.occluded, rows.dimensions])
        assert (fields == -1).all()
        assert (rows.alpha == -10).all()
        assert (rows.rotation_y == -10).all()
        assert (rows.location == -1000).all()
        assert (rows.bbox[:, 2:] > rows.bbox[:, :2]).all()
    assert ignored > 0


def test_objects_out_of_view_have_no_label() -> None:
    snapshot = flat_scene(standing_car(-15.0), standing_car(10.0, 25.0), standing_car(15.0)).snapshot()
    objects = make_labels(snapshot, scan(snapshot, np.random.default_rng(0)))
    assert objects.names.tolist() == ["Car"]
    assert objects.location[0, 2] == pytest.approx(15, abs=0.5)


# -- raw drive
