"""Pictures: what is drawn, where, in which colour; rendered off screen once for all tests."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from mink_pd.errors import MinkPDError
from mink_pd.render import Lines, Points, Scene, render_images, save_png, show
from mink_pd.render.camera import fit_camera
from mink_pd.render.colours import BACKGROUND
from mink_pd.render.offscreen import render_png
from mink_pd.render.shapes import box_lines

SIZE = (320, 200)
BOX = np.array([[15.0, 2.0, -1.0, 4.0, 1.8, 1.6, 0.4]])
CAMERA = fit_camera(np.array([[5.0, -8.0, -1.0], [25.0, 8.0, 1.0]]), SIZE, elevation=30)
RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.3, 0.9)


def project(point: np.ndarray) -> tuple[int, int]:
    """Row and column of a point, by homogeneous matrices instead of the camera's own method."""
    forward, up = CAMERA.forward, CAMERA.up
    world_from_camera = np.eye(4)
    world_from_camera[:3] = np.stack([np.cross(forward, up), -up, forward, CAMERA.eye], axis=1)
    x, y, z, _ = np.linalg.inv(world_from_camera) @ np.append(point, 1.0)
    focal = SIZE[1] / 2 / np.tan(np.radians(CAMERA.fov / 2))
    return int(SIZE[1] / 2 + focal * y / z), int(SIZE[0] / 2 + focal * x / z)


def patch(picture: np.ndarray, at: tuple[int, int], radius: int = 2) -> np.ndarray:
    return picture[at[0] - radius : at[0] + radius + 1, at[1] - radius : at[1] + radius + 1].reshape(-1, 3)


def near(pixels: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    return (np.abs(pixels.astype(int) - np.round(255 * np.array(colour)).astype(int)) <= 2).all(axis=-1)


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    scenes = {"empty": Scene(), "void": Scene(), "box": Scene(), "points": Scene(), "line": Scene()}
    nothing = np.zeros((0, 3))
    scenes["void"] += [Points(nothing, nothing), box_lines(np.zeros((0, 7)), RED)]
    scenes["box"] += box_lines(BOX, RED, width=4.0)
    place = np.array([[18.0, -3.0, 0.0]])
    scenes["points"] += Points(place, np.array([BLUE]), size=6.0)
    # Across the picture, in a plane that faces the camera: the width must be the one asked for.
    across = np.cross(CAMERA.forward, CAMERA.up)
    centre = CAMERA.eye + 30.0 * CAMERA.forward
    scenes["line"] += Lines(np.stack([centre - 5 * across, centre + 5 * across])[None], RED, width=6.0)
    try:
        drawn = render_images([(scene, CAMERA, SIZE) for scene in scenes.values()])
    except MinkPDError as error:
        pytest.skip(str(error))
    return dict(zip(scenes, drawn, strict=True))


@pytest.mark.parametrize("name", ["empty", "void"])
def test_nothing_is_background(pictures: dict[str, np.ndarray], name: str) -> None:
    assert pictures[name].shape == (SIZE[1], SIZE[0], 3)
    assert near(pictures[name], BACKGROUND).all()


def test_edges_and_heading_of_a_box_are_where_they_project(pictures: dict[str, np.ndarray]) -> None:
    picture = pictures["box"]
    x, y, z, length, width, height, yaw = BOX[0]
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])

    def at(along: float, across: float, up: float) -> np.ndarray:
        horizontal = turn @ [along * length / 2, across * width / 2] + [x, y]
        return np.array([*horizontal, z + up * height / 2])

    drawn = [
        at(0, 1, 1),
        at(0, -1, 1),
        at(1, 0, 1),
        at(-1, 0, -1),
        at(-1, 1, 0),
        at(0.5, 0, 1),
    ]  # last: arrow
    for place in drawn:
        assert near(patch(picture, project(place)), RED).any()
    blank = [at(-0.8, 0, 1), at(0, 0.5, 1), at(-1, 0, 0), at(0, 0, 4)]  # behind the arrow, on faces, above
    for place in blank:
        assert near(patch(picture, project(place), radius=0), BACKGROUND).all()


def test_point_has_its_colour_and_size(pictures: dict[str, np.ndarray]) -> None:
    blue = near(pictures["points"], BLUE)
    assert 25 <= blue.sum() <= 49  # about 6 x 6
    rows, columns = np.nonzero(blue)
    row, column = project(np.array([18.0, -3.0, 0.0]))
    assert abs(rows.mean() - row) < 1.5
    assert abs(columns.mean() - column) < 1.5


def test_line_is_as_wide_as_asked_for(pictures: dict[str, np.ndarray]) -> None:
    red = near(pictures["line"][:, SIZE[0] // 2], RED)
    assert 5 <= red.sum() <= 7


def test_no_driver_is_one_line_with_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    failed = subprocess.CompletedProcess([], -6, "", "noise\nvkCreateInstance: ErrorIncompatibleDriver\nterminate\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MinkPDError, match=r"IncompatibleDriver.*apt-get install .*mesa-vulkan-drivers") as error:
        render_png(Scene(), CAMERA, tmp_path / "picture.png")
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_window_without_display_advises_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(MinkPDError, match="--save"):
        show(Scene(), CAMERA, "title")


def test_picture_that_cannot_be_written_names_the_path(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MinkPDError, match="file"):
        save_png(Image.new("RGB", (4, 4)), tmp_path / "file" / "picture.png")
    save_png(Image.new("RGB", (4, 4)), tmp_path / "new" / "picture.png")
    assert os.listdir(tmp_path / "new") == ["picture.png"]
