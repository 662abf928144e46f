"""viz/show_labels.py."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Tool = Callable[..., CompletedProcess]


def test_a_page_of_a_data_set(data: Path, tool: Tool, tmp_path: Path) -> None:
    done = tool("show_labels.py", data, "--save", tmp_path / "labels.html", "--frames", "3")
    assert done.returncode == 0, done.stderr
    assert "6 labelled objects in 3 frames" in done.stdout
    assert 'data-frame="2"' in (tmp_path / "labels.html").read_text()
    refused = tool("show_labels.py", tmp_path, "--save", tmp_path / "other.html")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "other.html").exists()
