"""The page of a figure: title, pictures, legend and colour bar, drawn with Pillow."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mink_pd.render.camera import Camera
from mink_pd.render.colours import BACKGROUND, Scale, colour_map
from mink_pd.render.scene import Colour
from mink_pd.render.shapes import ring_points

SIZE = (1600, 900)  # [px]
MARGIN = 32  # [px]
PAGE = (0.094, 0.114, 0.141)
TEXT = (0.94, 0.95, 0.96)
QUIET = (0.66, 0.70, 0.75)
FRAME = (0.22, 0.26, 0.31)

Glyph = Literal["box", "dashed box", "crossed box", "circle", "arrow"]
Rectangle = tuple[int, int, int, int]  # x, y, width, height [px]


@dataclass(frozen=True)
class Entry:
    """One entry of a legend: a glyph and its meaning."""

    glyph: Glyph
    colour: Colour
    text: str


class Canvas:
    """A dark picture. Each method draws one element on top of the earlier ones."""

    def __init__(self, size: tuple[int, int]) -> None:
        """``size``: width, height [px]."""
        self.image = Image.new("RGB", size, rgb(PAGE))
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        colour: Colour = TEXT,
        bold: bool = False,
        anchor: str = "la",
    ) -> float:
        """Write one line; ``anchor`` is Pillow's. Returns its width [px]."""
        self.draw.text(at, text, fill=rgb(colour), font=font(size, bold), anchor=anchor)
        return self.draw.textlength(text, font=font(size, bold))

    def tag(self, at: tuple[float, float], text: str, colour: Colour, bold: bool = True, anchor: str = "mb") -> None:
        """Write a short text with its own background; by default centred above ``at``."""
        left, top, right, bottom = self.draw.textbbox(at, text, font=font(15, bold), anchor=anchor)
        self.draw.rounded_rectangle((left - 4, top - 3, right + 4, bottom + 3), 4, fill=rgb(BACKGROUND))
        self.text(at, text, 15, colour, bold, anchor)

    def picture(self, pixels: np.ndarray, at: tuple[int, int], caption: str = "") -> None:
        """Draw a picture (H, W, 3) with its upper left corner at ``at``, a frame and a caption."""
        height, width = pixels.shape[:2]
        self.image.paste(Image.fromarray(pixels), at)
        self.draw.rectangle((at[0], at[1], at[0] + width - 1, at[1] + height - 1), outline=rgb(FRAME))
        if caption:
            self.text((at[0] + 14, at[1] + 10), caption, 17, QUIET)

    def range_labels(
        self, camera: Camera, area: Rectangle, radii: list[float], ground: float, whole: bool = False
    ) -> None:
        """Write the radius of each range ring where the ring leaves the picture on the right."""
        x, y, width, height = area
        for radius in radii:
            pixels, depth = camera.project(ring_points(radius, ground, whole), (width, height))
            inside = (depth > 0) & (pixels[:, 0] > 0) & (pixels[:, 0] < width - 52)
            inside &= (pixels[:, 1] > 40) & (pixels[:, 1] < height - 16)
            if inside.any():
                column, row = pixels[inside][np.argmax(pixels[inside, 0])]
                self.tag((x + column + 4, y + row), f"{radius:.0f} m", QUIET, bold=False, anchor="lm")

    def legend(self, at: tuple[float, float], entries: list[Entry], gap: int = 44) -> float:
        """Entries in a row, centred on the height ``at[1]``. Returns where the row ends [px]."""
        x, y = at
        for entry in entries:
            self.image.paste(_glyph(entry), (round(x), round(y) - 13))
            x += 38
            x += self.text((x, y), entry.text, 20, anchor="lm") + gap
        return x - gap


class Page(Canvas):
    """A dark page of 1600 x 900 pixels with a title and a subtitle."""

    def __init__(self, title: str, subtitle: str, width: int = SIZE[0] - 2 * MARGIN) -> None:
        """width: of the title and the subtitle [px]; if they are too long, the font becomes smaller."""
        super().__init__(SIZE)
        self.text((MARGIN, 46), title, _fitting(title, 34, True, width), bold=True, anchor="lm")
        self.text((MARGIN, 86), subtitle, _fitting(subtitle, 20, False, width), QUIET, anchor="lm")

    def colour_bar(self, at: tuple[int, int], width: int, scale: Scale, label: str) -> None:
        """A horizontal bar with the label above it and three numbers below."""
        x, y = at
        bar = colour_map(np.linspace(0, 1, width))  # (width, 3)
        pixels = np.round(255 * np.tile(bar, (16, 1, 1))).astype(np.uint8)
        self.text((x, y - 8), label, 18, anchor="ls")
        self.image.paste(Image.fromarray(pixels), at)
        for fraction, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
            self.text((x + fraction * width, y + 21), f"{scale.value(fraction):.2g}", 16, QUIET, anchor=anchor)


def rgb(colour: Colour) -> tuple[int, int, int]:
    """0..1 -> 0..255."""
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


@cache
def font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def _fitting(text: str, size: int, bold: bool, width: int) -> int:
    """The largest font size from 12 to ``size`` at which the text is at most ``width`` [px] wide."""
    sizes = range(size, 12, -1)
    return next((smaller for smaller in sizes if font(smaller, bold).getlength(text) <= width), 12)


def _glyph(entry: Entry, side: int = 26, zoom: int = 4) -> Image.Image:
    """The glyph of a legend entry, drawn enlarged and scaled down for smooth edges."""
    image = Image.new("RGB", (side * zoom, side * zoom), rgb(PAGE))
    draw = ImageDraw.Draw(image)
    low, high, width, fill = 2 * zoom, (side - 2) * zoom, 3 * zoom, rgb(entry.colour)
    if entry.glyph == "circle":
        draw.ellipse((low + 2 * zoom, low + 2 * zoom, high - 2 * zoom, high - 2 * zoom), outline=fill, width=width)
    elif entry.glyph == "arrow":
        middle = (low + high) // 2
        for end in ((low, middle), (high - 6 * zoom, middle - 5 * zoom), (high - 6 * zoom, middle + 5 * zoom)):
            draw.line((*end, high, middle), fill=fill, width=width)
    else:
        draw.rectangle((low, low, high, high), outline=fill, width=width)
    if entry.glyph == "crossed box":
        draw.line((low, low, high, high), fill=fill, width=width)
        draw.line((low, high, high, low), fill=fill, width=width)
    if entry.glyph == "dashed box":
        for start in (0.28, 0.58):  # two gaps per side
            gap = [low + start * (high - low), low + (start + 0.14) * (high - low)]
            draw.rectangle((gap[0], 0, gap[1], side * zoom), fill=rgb(PAGE))
            draw.rectangle((0, gap[0], side * zoom, gap[1]), fill=rgb(PAGE))
    return image.resize((side, side), Image.Resampling.LANCZOS)
