"""The page as a file: what it holds, what it says is missing, and that it asks the network for nothing."""

import re
from pathlib import Path

import pytest
from made_up_runs import made_up_frame, write_matrix, write_run

from mink_pd.models.cost import Cost
from mink_pd.report.page import make_report, write_page
from mink_pd.report.page_tables import timed_with


def test_the_page_has_all_parts_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_matrix(tmp_path / "runs")
    write_run(tmp_path / "runs", "late", 0, 1.0, finished=False)
    monkeypatch.setattr("mink_pd.report.page.load_detector", lambda path: (None, None))
    monkeypatch.setattr("mink_pd.report.page.with_engine", lambda detector: detector)
    monkeypatch.setattr("mink_pd.report.page.measure", lambda *_, faster: Cost(5, 6, 7.0))
    report = make_report([tmp_path / "runs"])
    assert any("Pictures and the 3D scene are missing" in line and "nowhere" in line for line in report.missing)
    assert any("simulated frame" in line for line in report.missing)
    text = write_page(report, tmp_path / "page").read_text()
    for part in ("+3.8 ± 0.7", "k-64", "Pedestrian", "late-seed0", "K, neighbours", "are missing", "mAP 3D against",
                 "from points to boxes, with torch"):  # fmt: skip
        assert part in text, part
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]

    report.shown = made_up_frame()
    text = write_page(report, tmp_path / "page").read_text()
    assert text.count("</script>") == 3  # the frame's id has one more, which must not end the data
    assert not re.search(r"""(src|href|action|url)\s*[=(]\s*["']?\s*(https?:|//)""", text)
    assert "http" not in text


def test_the_note_says_whose_milliseconds_they_are() -> None:
    fast, slow = Cost(5, 6, 7.0, engine=True), Cost(5, 6, 70.0)
    assert timed_with({"a": fast, "b": fast}) == "Milliseconds: from points to boxes, with the engine."
    assert timed_with({"a": fast, "b": slow}).endswith("with the engine; with torch: b.")
    assert timed_with({"a": slow}).endswith("with torch.")
