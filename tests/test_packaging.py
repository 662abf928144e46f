"""The pins, pyproject.toml, environment.yml and what is installed must tell the same story."""

import copy
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mink_pd

ROOT = Path(__file__).resolve().parents[1]
# Build tools, and MinkowskiEngine, which "make setup" compiles: pinned, but no dependencies in pip's sense.
NOT_IN_PYPROJECT = {"minkowskiengine", "ninja", "pip", "setuptools", "wheel"}
NOT_FOR_CONDA = {"minkowskiengine", "nuscenes-devkit"}  # "make setup" installs them, the devkit without dependencies


def pins(lines: list[str]) -> dict[str, str]:
    """Canonical name and version of each ``name==version``; anything else fails."""
    found: dict[str, str] = {}
    for requirement in map(Requirement, lines):
        (specifier,) = requirement.specifier
        name = canonicalize_name(requirement.name)
        assert specifier.operator == "==", f"{requirement} is not pinned"
        assert name not in found, f"{name} is pinned twice"
        found[name] = specifier.version
    return found


def read_pins(name: str = "requirements.txt") -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


def installed_pins() -> dict[str, str]:
    """Those of what this environment was set up for."""
    memory = Path(sys.prefix, ".mink_pd_target")
    cuda = memory.exists() and memory.read_text().startswith("cuda")
    return read_pins() | (read_pins("requirements-cuda.txt") if cuda else {})


def read_pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def read_environment() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def disagreements(pinned: dict[str, str], pyproject: dict, environment: dict) -> list[str]:
    """One line for every place where the three files contradict each other."""
    project = pyproject["project"]
    extras = [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    ranges = {canonicalize_name(r.name): r for r in map(Requirement, [*project["dependencies"], *extras])}
    found = [f"{name} has no pin" for name in ranges.keys() - pinned.keys()]
    found += [f"{name} is not in pyproject" for name in pinned.keys() - ranges.keys() - NOT_IN_PYPROJECT]
    for name in ranges.keys() & pinned.keys():
        if not ranges[name].specifier.contains(pinned[name]):
            found.append(f"pyproject's {ranges[name]} excludes {pinned[name]}")

    conda = {line.split("=")[0]: line for line in environment["dependencies"] if isinstance(line, str)}
    (with_pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    conda_pins = pins(with_pip) | {"pip": conda["pip"].partition("=")[2]}
    expected = {name: version for name, version in pinned.items() if name not in NOT_FOR_CONDA}
    found += [f"environment.yml differs in {name}" for name, _ in conda_pins.items() ^ expected.items()]
    python = conda["python"].partition("=")[2]
    if not Requirement(f"python{project['requires-python']}").specifier.contains(python):
        found.append(f"environment.yml's Python {python} is outside {project['requires-python']}")
    return found


def test_pins_pyproject_and_environment_agree() -> None:
    assert disagreements(read_pins(), read_pyproject(), read_environment()) == []


def test_pins_for_cuda_replace_others_and_fit_too() -> None:
    replaced = read_pins("requirements-cuda.txt")
    assert replaced.keys() <= read_pins().keys()
    fits = disagreements(read_pins() | replaced, read_pyproject(), read_environment())
    assert fits == [f"environment.yml differs in {name}" for name in replaced for _ in range(2)]


@pytest.mark.parametrize("name", sorted(read_pins().keys() - {"minkowskiengine"}))
def test_another_pin_is_noticed(name: str) -> None:
    changed = read_pins() | {name: "9999"}
    assert disagreements(changed, read_pyproject(), read_environment())


def test_a_missing_or_added_package_is_noticed() -> None:
    pinned, pyproject, environment = read_pins(), read_pyproject(), read_environment()
    assert disagreements(pinned | {"left-pad": "1.0"}, pyproject, environment)
    more = copy.deepcopy(pyproject)
    more["project"]["dependencies"].append("left-pad>=1")
    assert disagreements(pinned, more, environment) == ["left-pad has no pin"]
    fewer = copy.deepcopy(environment)
    next(entry for entry in fewer["dependencies"] if isinstance(entry, dict))["pip"].pop()
    assert disagreements(pinned, pyproject, fewer)


@pytest.mark.parametrize(("name", "version"), installed_pins().items())
def test_installed_version_is_the_pinned_one(name: str, version: str) -> None:
    installed = metadata.version(name)
    assert installed.partition("+")[0] == version, f"run 'make setup': {name} {installed} is installed"


def test_versions_and_licence_agree() -> None:
    project = read_pyproject()["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == mink_pd.__version__ == metadata.version("mink_pd")
    assert project["version"] == str(citation["version"])
    assert project["license"] == citation["license"] == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_package_has_type_hints_and_all_data_in_a_wheel() -> None:
    """What the code reads from the package's folder must be listed as package data."""
    package = ROOT / "mink_pd"
    patterns = read_pyproject()["tool"]["setuptools"]["package-data"]["mink_pd"]
    listed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    present = {path for path in files if path.suffix != ".py"}
    assert (package / "py.typed") in present
    assert present <= listed
