"""tools/train.py with train.initial."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Tool = Callable[..., CompletedProcess]


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_a_training_starts_from_a_run_and_says_what_it_took(teacher: Path, config: Path, tool: Tool) -> None:
    more = ("train.epochs=1", "data.augment.enabled=false", "data.classes=[Car,Pedestrian,Cyclist]")
    fresh = tool("train.py", config, "name=from_nothing", *more)
    assert fresh.returncode == 0, fresh.stderr
    tuned = tool("train.py", config, "name=tuned", f"train.initial={teacher}", *more)
    assert tuned.returncode == 0, tuned.stderr
    assert "tensors taken: encoder.linear" in tuned.stdout
    runs = teacher.parent
    assert losses(runs / "tuned")[0] < 0.7 * losses(runs / "from_nothing")[0]
    assert "initial" in json.loads((runs / "tuned" / "files.json").read_text())
    missing = tool("train.py", config, "name=missing", f"train.initial={runs / 'none'}", *more)
    assert missing.returncode == 2
    assert "no such checkpoint" in missing.stderr
    assert not (runs / "missing").exists()
