"""The page in a real browser: it loads quietly, the scene draws and turns, tables sort, and a phone can show it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from made_up_runs import made_up_frame, write_matrix
from playwright.sync_api import Browser, Page, sync_playwright

from mink_pd.experiments.finished_runs import make_rows, read_runs
from mink_pd.experiments.groups import make_groups
from mink_pd.report.page import Report, write_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium or Chrome here; on Debian: apt-get install chromium"
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
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_matrix(folder / "runs")
    rows, _ = make_rows(read_runs([folder / "runs"])[0])
    return write_page(Report(rows, make_groups(rows), [], shown=made_up_frame()), folder / "page")


@dataclass
class Opened:
    """The report in a browser, what the browser complains of, and the addresses that it asks for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


def open_report(browser: Browser, report: Path, width: int, height: int, mobile: bool = False) -> Opened:
    page = browser.new_page(viewport={"width": width, "height": height}, is_mobile=mobile, has_touch=mobile)
    opened = Opened(page)
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(report.resolve().as_uri())
    return opened


@pytest.fixture(scope="module")
def desktop(browser: Browser, report: Path) -> Opened:
    return open_report(browser, report, 1280, 900)


def settle(page: Page) -> None:
    """Until the page has drawn twice: the first frame may have begun before the last event."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def colours(page: Page) -> dict[str, int]:
    settle(page)
    return json.loads(page.evaluate(PIXELS))


def middle(page: Page, selector: str) -> tuple[float, float]:
    """Scroll an element into view and return its middle."""
    element = page.locator(selector).first
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def column(page: Page, number: int) -> list[str]:
    script = f"[...document.querySelectorAll('#comparison tbody tr')].map(row => row.cells[{number}].textContent)"
    return page.evaluate(script)


def test_it_loads_without_a_complaint_or_a_request(desktop: Opened, report: Path) -> None:
    page = desktop.page
    assert page.title().endswith("distillation report")
    assert desktop.complaints == []
    assert {url for url in desktop.requests if not url.startswith("data:")} == {report.resolve().as_uri()}


def test_the_scene_draws_points_and_outcomes(desktop: Opened) -> None:
    page = desktop.page
    middle(page, "canvas")
    page.click("[data-panel='2']")
    distilled = colours(page)
    assert len(distilled) > 50  # points in the colours of the importance
    assert distilled[GREEN] > 50
    assert distilled[ORANGE] > 20
    assert YELLOW not in distilled
    page.click("[data-panel='1']")
    assert colours(page)[YELLOW] > 20  # one is missed
    assert "missed: 1" in (page.text_content(".scene .legend") or "")


def test_the_scene_turns_and_zooms(desktop: Opened) -> None:
    page = desktop.page
    x, y = middle(page, "canvas")
    before = colours(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 20)
    page.mouse.up()
    turned = colours(page)
    assert turned != before
    page.mouse.wheel(0, -300)
    settle(page)
    assert colours(page) != turned
    page.click("[data-view='behind']")
    assert colours(page) == before


def test_a_click_sorts_a_table_both_ways(desktop: Opened) -> None:
    page = desktop.page
    names = page.locator("#comparison th button").all_text_contents()
    number = names.index("mAP 3D")
    selector = f"#comparison thead th:nth-child({number + 1}) button"

    def values() -> list[float]:
        return [float(text.split(" ")[0]) for text in column(page, number)]

    page.click(selector)
    assert values() == sorted(values(), reverse=True)
    page.click(selector)
    assert values() == sorted(values())
    gain = names.index("gain mAP 3D")
    page.click(f"#comparison thead th:nth-child({gain + 1}) button")
    texts = column(page, gain)
    assert texts[-2:] == ["", ""]  # teacher and student alone have none: last
    assert desktop.complaints == []


def test_a_phone_shows_it_without_scrolling_sideways_and_pinches(browser: Browser, report: Path) -> None:
    phone = open_report(browser, report, 375, 812, mobile=True)
    page = phone.page
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    x, y = middle(page, "canvas")
    before = colours(page)
    devtools = page.context.new_cdp_session(page)  # Playwright itself has no touch by two fingers

    def touch(kind: str, *places: float) -> None:
        points = [{"x": x + place, "y": y, "id": number} for number, place in enumerate(places)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30, 30)
    touch("touchMove", -90, 90)
    touch("touchEnd")
    settle(page)
    assert colours(page) != before
    assert phone.complaints == []


def test_it_prints_all_tables_and_the_scene(desktop: Opened, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here; on Debian: apt-get install poppler-utils")
    data = desktop.page.pdf(path=tmp_path / "page.pdf", print_background=True, prefer_css_page_size=True)
    text = subprocess.run(["pdftotext", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True).stdout
    for part in ("Comparison", "Car", "Pedestrian", "Cyclist", "One frame in 3D", "k-64", "missed: "):
        assert part in text, part
    assert b"/Image" in data  # the canvas
