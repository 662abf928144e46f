"""A tiny data set in KITTI's layout, its configuration, and a way to call a tool."""

import contextlib
import io
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml
from tiny_kitti import settings, write_data

ROOT = Path(__file__).resolve().parents[2]
TRAIN, VAL = ("000000", "000001", "000002", "000003"), ("000004", "000005")
TEACHER = (
    "name=teacher", "train.epochs=60", "train.validate_every=30", "train.learning_rate=0.01",
    "data.augment.enabled=false", "data.val_split=train",
)  # fmt: skip
Tool = Callable[..., CompletedProcess]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    write_data(root, TRAIN, VAL)
    return root


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A configuration that trains in seconds; runs go beside it."""
    folder = tmp_path_factory.mktemp("project")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings(data, folder / "runs")))
    return path


@pytest.fixture(scope="session")
def tool() -> Tool:
    """``tool("train.py", ...)`` runs a tool or viewer in this process: its imports take longer than its work."""

    def call(name: str, *arguments: object) -> CompletedProcess:
        path = next(ROOT / folder / name for folder in ("tools", "viz") if (ROOT / folder / name).exists())
        before, threads = sys.argv, torch.get_num_threads()
        out, error, code = io.StringIO(), io.StringIO(), 0
        sys.argv = [name, *map(str, arguments)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before
            torch.set_num_threads(threads)  # the tiny configuration sets one for the whole process
        return CompletedProcess(sys.argv, code, out.getvalue(), error.getvalue())

    return call


@pytest.fixture(scope="session")
def teacher_settings() -> tuple[str, ...]:
    return TEACHER


@pytest.fixture(scope="session")
def teacher(config: Path, tool: Tool) -> Path:
    """A run folder of a detector that has learnt its four frames well enough to have an AP above 0."""
    result = tool("train.py", config, *TEACHER)
    assert result.returncode == 0, result.stderr
    return config.parent / "runs" / "teacher"
