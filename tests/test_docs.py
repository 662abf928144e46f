"""The pages: commands, options, settings and make targets that they name exist, and their links lead somewhere."""

import argparse
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from mink_pd.cli import parser
from mink_pd.commands import COMMANDS
from mink_pd.config import TrainConfig, load_config
from mink_pd.config.evaluate import EvaluateConfig
from mink_pd.config.methods import DistillConfig
from mink_pd.config.section import Section
from mink_pd.errors import MinkPDError
from mink_pd.models.agreement import positional
from mink_pd.registry import DATASETS, DETECTORS, METHODS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
CALL = re.compile(r"(?:^|[\s$(])(?:mink-pd ([a-z][a-z-]+)(?![\w-])|(?:python |torchrun .*)(tools|viz)/(\w+)\.py)(.*)")


def pages(*found: Path) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", found, ids=[str(page.relative_to(ROOT)) for page in found])


def code(page: Path) -> Iterator[tuple[str, bool]]:
    """The lines of code blocks, continued lines joined, and the code spans of the text; whether it is a block's."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield line, True
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for span in re.findall(r"`([^`\n]+)`", text):
        yield span, False


def arguments(command: str) -> argparse.ArgumentParser:
    module = import_module(f"mink_pd.commands.arguments.{command.replace('-', '_')}")
    result = parser(module.DESCRIPTION, command)
    module.add_arguments(result)
    return result


def known_options() -> set[str]:
    """The options of all commands, and of the developers' scripts by their source."""
    own = {option for command in COMMANDS for option in arguments(command)._option_string_actions}
    sources = [
        *ROOT.glob("tools/*.py"),
        *ROOT.glob("tests/*.py"),
        *ROOT.glob("benchmarks/**/*.py"),
        *ROOT.glob("tests/fuzz/*.py"),
    ]
    return own | {option for path in sources for option in OPTION.findall(path.read_text(encoding="utf-8"))}


@pages(*PAGES)
def test_commands_of_a_page_can_be_called(page: Path) -> None:
    for text, whole in code(page):
        for command, folder, script, words in CALL.findall(text):
            if script == "COMMAND":  # of all commands
                continue
            if folder:
                assert (ROOT / folder / f"{script}.py").is_file(), text
            name = command or script.replace("_", "-")
            if command or name in COMMANDS:
                assert name in COMMANDS, text
                check_call(name, words, whole, text)


def check_call(command: str, words: str, whole: bool, text: str) -> None:
    """Parse the words; a shipped configuration must take the settings. Spans need not be whole calls."""
    known = arguments(command)
    for option in OPTION.findall(words.partition("#")[0]):
        assert option in known._option_string_actions, f"{text}: {option}"
    if not whole or "..." in words:
        return
    try:
        options = known.parse_intermixed_args(shlex.split(words, comments=True))
        config, overrides = positional(getattr(options, "config", None), getattr(options, "overrides", []))
        if config not in (None, "CONFIG", "own.yaml"):  # the last is what new-config writes
            load_config(config, overrides)
    except (SystemExit, MinkPDError) as error:
        pytest.fail(f"{text}: {error}")


@pages(*PAGES)
def test_options_and_make_targets_of_a_page_exist(page: Path) -> None:
    options, targets = (
        known_options(),
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M),
    )
    for text, _ in code(page):
        if text.startswith("--"):
            assert OPTION.match(text).group() in options, text
        if target := re.match(r"make ([a-z-]+)", text):
            assert target[1] in targets, text


def settings(section: type[Section], before: str) -> set[str]:
    """Dotted keys of a section's settings."""
    found = set()
    for name, field in section.model_fields.items():
        found.add(f"{before}.{name}")
        for kind in [field.annotation, *get_args(field.annotation)]:
            if isinstance(kind, type) and issubclass(kind, Section):
                found |= settings(kind, f"{before}.{name}")
    return found


def known_settings() -> set[str]:
    sections = [("train", TrainConfig), ("evaluate", EvaluateConfig), ("distill", DistillConfig)]
    sections += [(f"distill.{name}", entry.Settings) for name, entry in METHODS.items()]
    sections += [("data", entry.Settings) for entry in DATASETS.values()]
    sections += [("model", entry.Settings) for entry in DETECTORS.values()]
    return {f"distill.{name}" for name in METHODS}.union(*(settings(section, key) for key, section in sections))


@pages(*PAGES)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    known = known_settings()
    for text, _ in code(page):
        for key in re.findall(
            r"(?<![\w./-])((?:train|evaluate|distill|data|model)(?:\.(?!yaml)[a-z_0-9]+)+)(?=[=`\s]|$)", text
        ):
            module = (ROOT / "mink_pd").joinpath(*key.split(".")[:2])
            assert key in known or module.is_dir() or module.with_suffix(".py").is_file(), text


@pages(*PAGES)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
