"""Films, read back by OpenCV and Pillow; where a box is drawn, by projecting its corners here."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mink_pd.errors import ConfigError, MinkPDError
from mink_pd.render.film import SIZE, Shot, Stage, film_frames, write_film

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


def plain_frames(stop: int | None = None) -> Iterator[Image.Image]:
    for number, colour in enumerate(COLOURS):
        if number == stop:
            raise MinkPDError("no more")
        yield Image.new("RGB", SIZE, colour)


def test_mp4_has_every_frame_at_its_rate(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", plain_frames(), rate=5.0)
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == 5
    for colour in COLOURS:
        there, picture = film.read()
        assert there
        assert picture.shape[:2] == (SIZE[1], SIZE[0])
        assert np.abs(picture[..., ::-1].mean((0, 1)) - colour).max() < 8
    assert not film.read()[0]


def test_gif_has_every_frame_at_its_rate(tmp_path: Path) -> None:
    write_film(tmp_path / "film.gif", plain_frames(), rate=5.0)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 4  # type: ignore[attr-defined]
        assert film.info["duration"] == 200
        assert film.info["loop"] == 0


def test_rare_colours_survive_in_a_gif(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 160, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    noise[:16, :16], noise[:16, 32:48] = (230, 159, 0), (242, 107, 25)
    write_film(tmp_path / "film.gif", iter([Image.fromarray(noise)]), 5.0, [(0.902, 0.624, 0.0), (0.95, 0.42, 0.10)])
    with Image.open(tmp_path / "film.gif") as film:
        pixels = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(pixels[5, 5] - (230, 159, 0)).max() < 12
    assert np.abs(pixels[5, 29] - (242, 107, 25)).max() < 12


@pytest.mark.parametrize("name", ["film.mp4", "film.gif"])
def test_nothing_is_left_of_a_film_that_fails(name: str, tmp_path: Path) -> None:
    with pytest.raises(MinkPDError, match="no more"):
        write_film(tmp_path / name, plain_frames(stop=2), rate=5.0)
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"film.avi: .* \.mp4 or \.gif"):
        write_film(tmp_path / "film.avi", plain_frames(), rate=5.0)


def test_boxes_are_drawn_where_they_are_in_both_views() -> None:
    colour = (1.0, 0.0, 1.0)
    stage = Stage("title", {"Car": colour}, (-40, -40, -3, 40, 40, 1), ground=-1.7)
    ground = np.random.default_rng(0).uniform((-40, -40, -1.75), (40, 40, -1.65), (20_000, 3))
    box = np.array([[15.0, 4.0, -0.9, 4.0, 1.8, 1.6, 0.4]])
    shots = [Shot(ground, boxes, np.array(["Car"] * len(boxes)), "0.0 s") for boxes in (box[:0], box)]
    without, with_box = (np.asarray(frame).astype(int) for frame in film_frames(stage, shots))
    changed = np.abs(with_box - without).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    corner = np.array([(x, y) for x in (-2, 2) for y in (-0.9, 0.9)])
    corner = corner @ np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]]) + (15, 4)
    corner = np.array([(x, y, z) for x, y in corner for z in (-1.7, -0.1)])
    lefts = ((SIZE[0] - 784 - 8 - 464) // 2, (SIZE[0] - 784 - 8 - 464) // 2 + 784 + 8)
    for (camera, size), left in zip(reversed(stage.cameras()), lefts, strict=True):
        pixels, _ = camera.project(corner, size)
        inside = (columns >= left) & (columns < left + size[0])
        drawn = np.array([columns[inside].min(), rows[inside].min(), columns[inside].max(), rows[inside].max()])
        pixels += np.array([left, 44])
        expected = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
        np.testing.assert_allclose(drawn, expected, atol=5)
