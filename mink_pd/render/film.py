"""Films of a drive with its detections, seen from above and from behind."""

import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mink_pd.boxes.geometry import points_in_boxes
from mink_pd.errors import ConfigError, MinkPDError
from mink_pd.files import whole_file
from mink_pd.render.camera import Camera, fit_camera
from mink_pd.render.colours import height_greys
from mink_pd.render.offscreen import render_images
from mink_pd.render.scene import Colour, Points, Scene
from mink_pd.render.shapes import RADII, box_lines, ground_height, rings
from mink_pd.render.sheet import QUIET, Canvas, Entry, rgb

SIZE = (1280, 640)  # of a film's frame [px]
_HEADER = 44  # height of the text line above the pictures [px]
_GAP = 8  # [px]
_ABOVE, _BEHIND = (464, 548), (784, 548)  # sizes of the pictures [px]
_ELEVATION, _BACK, _UP = 17.0, 13.0, 7.5  # of the camera behind the sensor [degrees, m, m]
_FAR = 60.0  # the view from above shows at most a square of twice this side [m]
_TOGETHER = 8  # frames drawn by one call of the worker process
_GIF_WIDTH = 960  # [px]
_GIF_COLOURS = 96


@dataclass
class Shot:
    """One frame of a film: points (P, 3 or more) [m], boxes (B, 7), class names (B,), and a line of text."""

    points: np.ndarray
    boxes: np.ndarray
    names: np.ndarray
    text: str


@dataclass(frozen=True)
class Stage:
    """What all frames of a film have in common.

    bounds: the detector's range: lower x, y, z, upper x, y, z [m].
    ground: height of the ground [m].
    front: direction of the vehicle's front, counter-clockwise from x [degrees].
    """

    title: str
    colours: dict[str, Colour]
    bounds: Sequence[float]
    ground: float
    front: float = 0.0

    def cameras(self) -> list[tuple[Camera, tuple[int, int]]]:
        """The cameras above and behind, each with the size of its picture."""
        low, high = np.maximum(self.bounds[:2], -_FAR), np.minimum(self.bounds[3:5], _FAR)
        corner = [(x, y, self.ground) for x in (low[0], high[0]) for y in (low[1], high[1])]
        above = fit_camera(np.array(corner), _ABOVE, elevation=90, azimuth=self.front, fov=6.0)
        turn, down = math.radians(self.front), math.radians(_ELEVATION)
        ahead = np.array([math.cos(turn), math.sin(turn), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        behind = Camera(
            eye=-_BACK * ahead + (self.ground + 1.7 + _UP) * up,
            forward=math.cos(down) * ahead - math.sin(down) * up,
            up=math.sin(down) * ahead + math.cos(down) * up,
            fov=50.0,
        )
        return [(above, _ABOVE), (behind, _BEHIND)]


def film_frames(
    stage: Stage, shots: Iterable[Shot], advance: Callable[[], object] = lambda: None
) -> Iterator[Image.Image]:
    """The frames of a film, drawn a few at a time. ``advance`` is called after each frame.

    Raises MinkPDError if Open3D cannot render.
    """
    cameras = stage.cameras()
    rest = iter(shots)
    while some := list(itertools.islice(rest, _TOGETHER)):
        views = [
            (labelled_scene(shot.points, shot.boxes, shot.names, stage.colours), camera, size)
            for shot in some
            for camera, size in cameras
        ]
        pictures = iter(render_images(views))
        for shot in some:
            yield _compose(stage, shot, next(pictures), next(pictures))
            advance()


def write_film(path: Path, frames: Iterator[Image.Image], rate: float, keep: Sequence[Colour] = ()) -> None:
    """Write frames as .mp4 (H.264) or .gif, completely or not at all.

    rate: frames per second.
    keep: colours that the palette of a .gif must contain exactly.
    Raises ConfigError for another kind of file, DataError if it cannot be written.
    """
    check_kind(path)
    with tempfile.TemporaryDirectory(prefix="mink_pd_film_") as folder, whole_file(path, "wb") as file:
        made = Path(folder, f"film{path.suffix.lower()}")
        if made.suffix == ".mp4":
            _write_mp4(made, frames, rate)
        else:
            _write_gif(made, frames, rate, keep)
        file.write(made.read_bytes())


def check_kind(path: Path) -> None:
    """Raise ConfigError unless ``path`` ends in the suffix of a film."""
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise ConfigError(f"{path}: not a film that can be written; give it the suffix .mp4 or .gif")


def _write_mp4(path: Path, frames: Iterator[Image.Image], rate: float) -> None:
    import imageio_ffmpeg  # imported late because it searches for the ffmpeg program

    writer = imageio_ffmpeg.write_frames(
        str(path), SIZE, fps=rate, codec="libx264", quality=7, macro_block_size=16, ffmpeg_log_level="error"
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.asarray(frame).tobytes())
    except OSError as error:
        raise MinkPDError(f"{path.name}: ffmpeg failed ({' '.join(str(error).split())[:200]}); save a .gif") from None
    finally:
        writer.close()


def _write_gif(path: Path, frames: Iterator[Image.Image], rate: float, keep: Sequence[Colour]) -> None:
    height = round(SIZE[1] * _GIF_WIDTH / SIZE[0])
    small = [frame.resize((_GIF_WIDTH, height), Image.Resampling.LANCZOS) for frame in frames]
    palette = _palette(small[:: max(1, len(small) // 8)], keep)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
    first.save(path, save_all=True, append_images=others, duration=1000 / rate, loop=0, optimize=True)


def _palette(frames: Sequence[Image.Image], keep: Sequence[Colour]) -> Image.Image:
    """One palette for the whole film that contains ``keep``. With a palette per frame, constant colours would
    flicker."""
    found = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames])).quantize(_GIF_COLOURS)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(found.getpalette() or []), *(value for colour in keep for value in rgb(colour))])
    return palette


def labelled_scene(points: np.ndarray, boxes: np.ndarray, names: np.ndarray, colours: dict[str, Colour]) -> Scene:
    """Points (P, 3 or more) in grey, tinted inside boxes, and boxes (B, 7) in the colours of their classes.

    names: the classes (B,).
    """
    scene = Scene()
    scene += rings(RADII, ground_height(points), whole=True)
    tints = height_greys(points)
    inside = np.zeros(len(points), dtype=bool)
    for name, colour in colours.items():
        some = boxes[names == name]
        within = points_in_boxes(points, some).any(axis=0)  # (P,)
        tints[within] = np.array(colour) / 2 + 0.5
        inside |= within
        scene += box_lines(some, colour)
    scene += [Points(points[~inside, :3], tints[~inside], 1.6), Points(points[inside, :3], tints[inside], 2.6)]
    return scene


def _compose(stage: Stage, shot: Shot, above: np.ndarray, behind: np.ndarray) -> Image.Image:
    canvas = Canvas(SIZE)
    canvas.text((16, _HEADER / 2), stage.title, 20, bold=True, anchor="lm")
    canvas.text((SIZE[0] - 16, _HEADER / 2), shot.text, 16, QUIET, anchor="rm")
    left = (SIZE[0] - _BEHIND[0] - _GAP - _ABOVE[0]) // 2
    canvas.picture(behind, (left, _HEADER))
    canvas.picture(above, (left + _BEHIND[0] + _GAP, _HEADER))
    entries = [Entry("box", colour, name) for name, colour in stage.colours.items()]
    canvas.legend((left + 4, SIZE[1] - 24), entries, gap=24)
    return canvas.image
