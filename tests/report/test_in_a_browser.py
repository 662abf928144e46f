"""The page in a real browser: it loads quietly, the scene draws and turns, tables sort, and a phone can show it."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import headless_browser
import pytest
from headless_browser import Browser
from made_up_runs import made_up_frame, write_matrix

from mink_pd.experiments.groups import make_groups
from mink_pd.experiments.runs import make_rows, read_runs
from mink_pd.report.page import Report, write_page

pytestmark = pytest.mark.skipif(
    headless_browser.find() is None, reason="no Chromium or Chrome here; on Debian: apt-get install chromium"
)
PIXELS = """(() => {
  const canvas = document.querySelector("canvas");
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const counts = {};
  for (let i = 0; i < data.length; i += 4) {
    const key = [data[i], data[i + 1], data[i + 2]].join();
    counts[key] = (counts[key] || 0) + 1;
  }
  return JSON.stringify(counts);
})()"""
GREEN, ORANGE, YELLOW = "0,184,135", "242,107,26", "240,228,66"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_matrix(folder / "runs")
    rows, _ = make_rows(read_runs([folder / "runs"])[0])
    return write_page(Report(rows, make_groups(rows), [], shown=made_up_frame()), folder / "page")


@pytest.fixture(scope="module")
def desktop(page: Path) -> Iterator[Browser]:
    with Browser(1280, 900) as browser:
        browser.open(page)
        yield browser


def colours(browser: Browser) -> dict[str, int]:
    return json.loads(browser.js(PIXELS))


def column(browser: Browser, number: int) -> list[str]:
    script = f"[...document.querySelectorAll('#comparison tbody tr')].map(row => row.cells[{number}].textContent)"
    return browser.js(script)


def test_it_loads_without_a_complaint_or_a_request(desktop: Browser, page: Path) -> None:
    assert desktop.js("document.title").endswith("distillation report")
    assert desktop.complaints() == []
    assert {url for url in desktop.requests() if not url.startswith("data:")} == {page.resolve().as_uri()}


def test_the_scene_draws_points_and_outcomes(desktop: Browser) -> None:
    desktop.middle("canvas")
    desktop.click("[data-panel='2']")
    distilled = colours(desktop)
    assert len(distilled) > 50  # points in the colours of the importance
    assert distilled[GREEN] > 50
    assert distilled[ORANGE] > 20
    assert YELLOW not in distilled
    desktop.click("[data-panel='1']")
    assert colours(desktop)[YELLOW] > 20  # one is missed
    assert "missed: 1" in desktop.js("document.querySelector('.scene .legend').textContent")


def test_the_scene_turns_and_zooms(desktop: Browser) -> None:
    x, y = desktop.middle("canvas")
    before = colours(desktop)
    desktop.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    desktop.mouse("mouseMoved", x + 120, y + 20, button="left", buttons=1)
    desktop.mouse("mouseReleased", x + 120, y + 20, button="left")
    desktop.settle()
    turned = colours(desktop)
    assert turned != before
    desktop.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    desktop.settle()
    desktop.settle()
    assert colours(desktop) != turned
    desktop.click("[data-view='behind']")
    assert colours(desktop) == before


def test_a_click_sorts_a_table_both_ways(desktop: Browser) -> None:
    names = desktop.js("[...document.querySelectorAll('#comparison th button')].map(b => b.textContent)")
    number = names.index("mAP 3D")
    selector = f"#comparison thead th:nth-child({number + 1}) button"

    def values() -> list[float]:
        return [float(text.split(" ")[0]) for text in column(desktop, number)]

    desktop.click(selector)
    assert values() == sorted(values(), reverse=True)
    desktop.click(selector)
    assert values() == sorted(values())
    gain = next(i for i, name in enumerate(names) if name == "gain mAP 3D")
    desktop.click(f"#comparison thead th:nth-child({gain + 1}) button")
    texts = column(desktop, gain)
    assert texts[-2:] == ["", ""]  # teacher and student alone have none: last
    assert desktop.complaints() == []


def test_a_phone_shows_it_without_scrolling_sideways_and_pinches(page: Path) -> None:
    with Browser(375, 812, mobile=True) as phone:
        phone.open(page)
        assert phone.js("document.documentElement.scrollWidth") == 375
        x, y = phone.middle("canvas")
        before = colours(phone)

        def touch(kind: str, *places: float) -> None:
            points = [{"x": x + place, "y": y, "id": number} for number, place in enumerate(places)]
            phone("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        touch("touchStart", -30, 30)
        touch("touchMove", -90, 90)
        touch("touchEnd")
        phone.settle()
        phone.settle()
        assert colours(phone) != before
        assert phone.complaints() == []


def test_it_prints_all_tables_and_the_scene(desktop: Browser, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here; on Debian: apt-get install poppler-utils")
    data = base64.b64decode(desktop("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    (tmp_path / "page.pdf").write_bytes(data)
    text = subprocess.run(["pdftotext", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True).stdout
    for part in ("Comparison", "Car", "Pedestrian", "Cyclist", "One frame in 3D", "k-64", "missed: "):
        assert part in text, part
    assert b"/Image" in data  # the canvas
