"""Instruction sets of x86-64 that the compiled operators can be limited to, by ``MINK_PD_ISA``.

Without the variable the library uses all that the processor has. A limit makes one machine compute as a lesser one
does: for tests, and for comparing processors.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from mink_pd.errors import ConfigError

VARIABLE = "MINK_PD_ISA"
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Level:
    """An instruction set: the processor flags that it needs and the compiler options that limit the build to it."""

    needs: frozenset[str]
    options: tuple[str, ...]


# Each level includes the one before it.
LEVELS = {
    "avx2": Level(frozenset({"avx2", "bmi2", "f16c", "fma"}), ("-march=x86-64-v3", "-mtune=native")),
    "avx512": Level(
        frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}), ("-march=x86-64-v4", "-mtune=native")
    ),
    "avx512bf16": Level(
        frozenset({"avx512_vnni", "avx512_bf16"}),
        ("-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16", "-mtune=native"),
    ),
    "amx": Level(frozenset({"amx_tile", "amx_bf16"}), ("-march=native",)),
}


def available(cpuinfo: Path = CPUINFO) -> list[str]:
    """The levels that this processor has, lowest first; none where it is not an x86-64 or does not tell."""
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.exists():
        return []
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "").split()
    needed: set[str] = set()
    found = []
    for name, level in LEVELS.items():
        needed |= level.needs
        if needed <= set(flags):
            found.append(name)
    return found


def compiler_options(cpuinfo: Path = CPUINFO) -> list[str]:
    """The compiler's options for the processor, within the limit that ``MINK_PD_ISA`` sets.

    Raises ConfigError for an unknown level and for one that the processor lacks.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "":
        return ["-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"]
    there = available(cpuinfo)
    if wanted not in there:
        problem = "this processor lacks it" if wanted in LEVELS else f"unknown; the levels are {', '.join(LEVELS)}"
        remedy = f"choose {' or '.join(there)}, or unset it" if there else "unset it"
        raise ConfigError(f"{VARIABLE}={wanted}: {problem}; {remedy}")
    return list(LEVELS[wanted].options)
