"""``mink-pd`` and its commands: quick help, scripts that are the same commands, errors before a command runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from mink_pd.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
FOR_DEVELOPERS = {"benchmark", "setup", "setup_cuda", "setup_minkowski", "setup_progress", "setup_system",
                  "setup_target", "wheel"}  # fmt: skip


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


def test_every_command_has_a_module_and_a_script() -> None:
    names = {name.replace("-", "_") for name in COMMANDS}
    modules = {path.stem for path in (ROOT / "mink_pd" / "commands").glob("*.py") if "def main(" in path.read_text()}
    scripts = {path.stem for folder in ("tools", "viz") for path in (ROOT / folder).glob("*.py")}
    assert modules - {"__init__"} == names
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
