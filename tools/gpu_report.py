"""The report of ``tools/check_gpu.py``: the result of each stage, as Markdown. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

MOST_FAILURES = 20  # the report names at most this many failed tests
TAIL = 15  # lines of a failed stage's log in the report


@dataclass
class Result:
    """The result of one stage."""

    name: str
    state: str  # passed, failed or skipped
    seconds: float = 0.0
    problem: str = ""  # one line: why it has not passed
    lines: list[str] = field(default_factory=list)  # Markdown
    figures: list[dict[str, Any]] = field(default_factory=list)  # the same for programs
    when: str = ""  # local time at its end
    device: str = ""


def write_result(folder: Path, result: Result) -> None:
    """Store a stage's result next to the others, completely or not at all."""
    path = folder / f"{result.name}.result.json"
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(asdict(result), indent=1))
    temporary.replace(path)


def read_results(folder: Path, names: list[str]) -> list[Result]:
    """The stored results, in the order of the stages."""
    paths = [folder / f"{name}.result.json" for name in names]
    return [Result(**json.loads(path.read_text())) for path in paths if path.exists()]


def test_lines(path: Path) -> tuple[list[str], str]:
    """Markdown of pytest's JUnit file, and the problem in one line, empty if every test passed or was skipped."""
    suite = ElementTree.parse(path).getroot()
    cases = list(suite.iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    lines = [f"{len(cases) - len(bad) - len(skipped)} tests passed, {len(bad)} failed, {len(skipped)} skipped."]
    for case in bad[:MOST_FAILURES]:
        what = next(part for part in case if part.tag in ("failure", "error"))
        reason = (what.get("message") or "").strip().splitlines() or ["no message"]
        lines.append(f"- `{case.get('classname')}::{case.get('name')}`: {reason[0][:200]}")
    if not cases:
        return lines, "no test was found"
    return lines, f"{len(bad)} of {len(cases)} tests failed" if bad else ""


def tail(path: Path) -> list[str]:
    """The last lines of a log, as a Markdown code block."""
    lines = path.read_text(errors="replace").splitlines()[-TAIL:] if path.exists() else []
    return ["```", *lines, "```"] if lines else []


def markdown(results: list[Result], machine: list[str], names: list[str], device: str) -> str:
    """The whole report. Stages without a result are listed as not run."""
    known = {result.name: result for result in results}
    rehearsal = "**A rehearsal on the CPU: nothing in this report ran on a GPU.**"
    text = ["# mink_pd on this machine's GPU", "", *([rehearsal, ""] if device == "cpu" else []), *machine, ""]
    text += ["| stage | result | seconds | |", "| --- | --- | --- | --- |"]
    for name in names:
        result = known.get(name)
        cells = (result.state, f"{result.seconds:.0f}", _cell(result.problem)) if result else ("not run", "", "")
        text.append(f"| {name} | {' | '.join(cells)} |")
    for result in results:
        text += ["", f"## {result.name}: {result.state}", "", *([result.problem, ""] if result.problem else [])]
        text += result.lines
        text += ["", f"{result.device}, {result.when}, {result.seconds:.0f} s."]
    return "\n".join(text) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:200]
