"""``mink-pd`` and its commands: quick help, scripts that are the same commands, errors before a command runs."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from mink_pd.commands import COMMANDS
from mink_pd.commands.arguments import choices
from mink_pd.convert import DIALECTS
from mink_pd.distill.importance import needs_student
from mink_pd.export.card import Target
from mink_pd.export.write import TARGETS
from mink_pd.registry import IMPORTANCES, METHODS
from mink_pd.simulator.nuscenes import SPLITS
from mink_pd.simulator.nuscenes.bodies import BODIES
from mink_pd.simulator.world import DEFAULT_WORLD, WORLDS

ROOT = Path(__file__).resolve().parents[2]
FOR_DEVELOPERS = {"benchmark", "check_gpu", "gpu_environment", "gpu_report", "setup", "setup_cuda", "setup_minkowski",
                  "setup_progress", "setup_system", "setup_target", "wheel"}  # fmt: skip


def python(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_the_commands_without_importing_torch() -> None:
    code = "import sys; from mink_pd.commands import main; sys.argv = ['mink-pd', '--help']\n"
    code += "try: main()\nfinally: assert not {'torch', 'numpy', 'MinkowskiEngine'} & sys.modules.keys()"
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    for name, summary in COMMANDS.items():
        assert name in result.stdout
        assert summary.split()[0] in result.stdout


def test_help_of_every_command_imports_nothing_slow() -> None:
    code = "import sys, io, contextlib\nfrom mink_pd.commands import COMMANDS, run_command\nfor name in COMMANDS:\n"
    code += "    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):\n"
    code += "        run_command(name, ['--help'])\n    assert '--debug' in text.getvalue(), name\n"
    code += "    slow = {'torch', 'MinkowskiEngine', 'numba', 'open3d', 'scipy'} & sys.modules.keys()\n"
    code += "    assert not slow, (name, slow)\n"
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


def test_help_lists_what_there_is() -> None:
    assert tuple(DIALECTS) == choices.FORMATS
    assert tuple(BODIES) == choices.BODIES
    assert tuple(SPLITS) == choices.SCHEMAS
    assert tuple(WORLDS) == choices.WORLDS
    assert choices.WORLDS[0] == DEFAULT_WORLD
    built_in = IMPORTANCES.built_in & IMPORTANCES.keys()
    assert set(choices.IMPORTANCES) == {name for name in built_in if not needs_student(name)}
    assert set(choices.METHODS) == METHODS.built_in & METHODS.keys()
    assert get_args(Target) == tuple(TARGETS)


def test_every_command_has_a_module_and_a_script() -> None:
    names = {name.replace("-", "_") for name in COMMANDS}
    modules = {path.stem for path in (ROOT / "mink_pd" / "commands").glob("*.py") if "def main(" in path.read_text()}
    scripts = {path.stem for folder in ("tools", "viz") for path in (ROOT / folder).glob("*.py")}
    arguments = {path.stem for path in (ROOT / "mink_pd" / "commands" / "arguments").glob("*.py")}
    assert modules - {"__init__"} == names
    assert arguments - {"__init__", "choices", "options", "values"} == names
    assert scripts - FOR_DEVELOPERS == names


@pytest.mark.parametrize("name", ["train", "show-importance"])
def test_a_script_is_the_command(name: str) -> None:
    folder = "viz" if name.startswith("show") else "tools"
    script = python(Path(folder, f"{name.replace('-', '_')}.py"), "--help").stdout
    command = python("-m", "mink_pd", name, "--help").stdout
    options = [text[text.index("positional arguments:") :] for text in (script, command)]
    assert options[0] == options[1]
    assert command.startswith(f"usage: mink-pd {name} ")


def test_an_unknown_command_is_named() -> None:
    result = python("-m", "mink_pd", "trian")
    assert result.returncode == 2
    assert "'trian'" in result.stderr


def test_without_minkowski_engine_a_command_says_what_to_do() -> None:
    code = "import sys; sys.modules['MinkowskiEngine'] = None; sys.argv = ['mink-pd', 'train', 'x']\n"
    result = python("-c", code + "from mink_pd.commands import main; main()")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "run make setup" in result.stderr
