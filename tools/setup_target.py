"""What ``tools/setup.py`` builds MinkowskiEngine for, and how an environment remembers it. Standard library only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MEMORY = ".mink_pd_target"  # in the environment, from before its first package until it is removed


class Target:
    """The CPU; other targets derive from it.

    key: one line that names the target, kept in the environment.
    """

    key = "cpu"
    pins: Path | None = None  # pins that replace those of requirements.txt
    inputs: tuple[Path, ...] = ()  # files that only this target depends on
    options: tuple[str, ...] = ("--cpu_only", "--blas=openblas")  # of MinkowskiEngine's setup.py
    gib_per_compiler = 2.0  # one g++ on one of MinkowskiEngine's files stays below this
    loads = "import MinkowskiEngine"

    @property
    def folder(self) -> str:
        """The target's part of the name of a wheel's cache folder."""
        return "cpu"

    def prepare(self, environment: Path, state: dict[str, Any] | None, pip_args: list[str]) -> None:
        """Look for all that is needed, before anything is downloaded, and say what was found.

        ``environment`` is the folder of the virtual environment, ``state`` what it holds, None if there is none yet.

        Raises:
            SetupError: something is missing; one line for each thing.
        """

    def minutes(self, jobs: int) -> float:
        """How long the build takes with this number of compilers."""
        return 8 / jobs  # 4 minutes on two idle cores

    def environment(self, state: dict[str, Any], scratch: Path) -> dict[str, str]:
        """Environment variables of the build. scratch: a folder that exists as long as the build runs.

        Raises:
            SetupError: the installed torch does not fit, or something is missing; one line for each thing.
        """
        return {}


def remembered(environment: Path) -> str:
    """The key of the target that an environment was last set up for; the CPU's if there is no such environment."""
    path = environment / MEMORY
    return path.read_text().strip() if path.exists() else Target.key


def remember(environment: Path, target: Target) -> None:
    """Keep the target, so that a set-up that names none stays with it."""
    (environment / MEMORY).write_text(f"{target.key}\n")
