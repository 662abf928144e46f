"""tools/report.py: what it refuses."""

from pathlib import Path


def test_a_folder_without_runs_is_one_line(tmp_path: Path, tool) -> None:  # type: ignore[no-untyped-def]
    result = tool("report.py", tmp_path, "--out", tmp_path / "page")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no run folders in it" in result.stderr
    assert not (tmp_path / "page").exists()
