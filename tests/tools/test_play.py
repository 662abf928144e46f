"""viz/play.py on a recording."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image
from recording_writers import SECOND, START, make_points, write_mcap

Tool = Callable[..., CompletedProcess]


def test_a_film_of_a_recording(teacher: Path, tool: Tool, tmp_path: Path) -> None:
    drive = write_mcap(
        tmp_path / "drive.mcap", [make_points(3000, n) for n in range(3)], [START + n * SECOND for n in range(3)]
    )
    done = tool("play.py", teacher, drive, "--save", tmp_path / "film.gif", "--first", "2", "--score", "0.01")
    if "cannot render off screen" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 2  # type: ignore[attr-defined]
        assert film.info["duration"] == 1000  # the recording's own rate
        assert len(np.unique(np.asarray(film.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_another_kind_of_film_is_refused_before_any_work(teacher: Path, tool: Tool, tmp_path: Path) -> None:
    done = tool("play.py", teacher, tmp_path / "none.mcap", "--save", tmp_path / "film.avi")
    assert done.returncode == 2
    assert "suffix .mp4 or .gif" in done.stderr
