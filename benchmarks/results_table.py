"""The rows as a table for people, as JSON for programs, and as Markdown for the documentation."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from mink_pd.errors import DataError
from mink_pd.files import read_json, whole_file

COLUMNS = ("row", "ours", "peer", "ratio", "spread", "target", "")
WIDTHS = (24, 10, 10, 8, 7, 7, 7)


def heading() -> Table:
    """The head of the table, whose rows are printed as they come."""
    return _line(COLUMNS, header=True)


def line(row: Mapping[str, Any]) -> Table:
    """One row of the JSON under that heading."""
    return _line(cells(row))


def _line(values: Iterable[str], header: bool = False) -> Table:
    table = Table.grid(padding=(0, 1))
    for index, width in enumerate(WIDTHS):
        style = "bold" if header else {"missed": "red", "met": "green"}.get(list(values)[index], "")
        table.add_column(width=width, justify="left" if index in (0, 6) else "right", no_wrap=True, style=style)
    table.add_row(*values)
    return table


def cells(row: Mapping[str, Any]) -> list[str]:
    """name, ours, peer, ratio, spread, target, verdict."""
    verdict = {True: "met", False: "missed", None: ""}[row["met"]]
    target = "-" if row["target"] is None else f"{row['target']:g}"
    figures = [duration(row["ours_ms"]), duration(row["peer_ms"])]
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    spread = "-" if row["spread"] is None else f"{100 * row['spread']:.0f} %"
    return [row["name"], *figures, ratio, spread, target, "error" if "error" in row else verdict]


def remarks(row: Mapping[str, Any]) -> list[str]:
    """The lines below a row: the peer, threads, runs, memory, notes, error."""
    if "error" in row:
        return [row["error"]]
    threads, runs = row["threads"], row["runs"]
    same = threads[0] == threads[1] or not threads[1]
    text = [f"{row['what']}; peer: {row['peer']}"]
    if threads[0]:
        text.append(threads[0] if same else f"ours {threads[0]}; peer {threads[1]}")
    if runs[1] not in (0, runs[0]) and threads[1]:
        text[-1] += f"; {runs[0]} runs, peer {runs[1]}"
    if "memory" in row:
        m = row["memory"]
        good = "met" if m["share"] <= m["target"] else "missed"
        text.append(
            f"peak memory {m['ours_mb']:.0f} MB, peer {m['peer_mb']:.0f} MB: {m['share']:.2f},"
            f" at most {m['target']:g} ({good})"
        )
    return [*text, *row["notes"]]


def duration(milliseconds: float | None) -> str:
    """A time with three digits, in ms or s."""
    if milliseconds is None:
        return "-"
    if milliseconds >= 10_000:
        return f"{milliseconds / 1e3:.1f} s"
    return f"{milliseconds:.{max(0, 2 - len(str(int(milliseconds))) + 1)}f} ms"


def markdown(content: Mapping[str, Any]) -> str:
    """The table and the machine of a JSON, for docs/performance.md. Threads stand only at rows that have others."""
    threads = content["machine"]["threads"]
    usual = f"OpenMP {threads['OpenMP']}, OpenBLAS {threads['OpenBLAS']}"
    lines = [machine(content["machine"]), ""]
    lines += [
        "| row | against | ours | peer | ratio | spread | target | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in content["rows"]:
        name, *rest = cells(row)
        lines.append(f"| `{name}`: {row['what']} | {row['peer']} | {' | '.join(rest)} |")
    lines.append("")
    for row in content["rows"]:
        told = [text for text in (remarks(row)[1:] or remarks(row)) if text != usual]
        lines += [f"- `{row['name']}`: {'; '.join(told)}."] if told else []
    return "\n".join(lines)


def machine(facts: Mapping[str, Any]) -> str:
    """The machine in one line."""
    gflops = ", ".join(f"{value:.0f} on {n}" for n, value in facts["sgemm_gflops"].items())
    versions = ", ".join(f"{name} {value or 'missing'}" for name, value in facts["versions"].items())
    threads = ", ".join(f"{name} {value}" for name, value in facts["threads"].items())
    return (
        f"{facts['processor']} ({facts['vector_units']}), {facts['cores']} cores, load {facts['load_at_start']:.2f} at"
        f" the start; sgemm GFLOP/s: {gflops}; threads: {threads}; {versions}; commit {facts['commit'][:12]}."
    )


def check_writable(*paths: Path | None) -> None:
    """Raise DataError for a file whose folder does not exist, before any work is lost."""
    for path in paths:
        if path is not None and not path.resolve().parent.is_dir():
            raise DataError(f"{path}: cannot be written, its folder does not exist; choose one that does")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write the file completely or not at all. Raises DataError if it cannot be written."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with whole_file(path) as file:
        file.write(text + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read such a JSON. Raises DataError naming a file that is missing or is not one."""
    content = read_json(path, remedy="give what --json or --scaling has written")
    if not isinstance(content, dict) or "machine" not in content or not content.keys() & {"rows", "curves"}:
        raise DataError(f"{path}: holds no rows or curves; give what --json or --scaling has written")
    return content
