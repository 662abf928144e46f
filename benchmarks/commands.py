"""What tools/benchmark.py does: the table, curves, profiles, latencies."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.progress import Progress

from benchmarks import results_table
from benchmarks.inputs import Inputs
from benchmarks.latency import latency
from benchmarks.latency import table as latency_table
from benchmarks.loading import loading
from benchmarks.loading import table as loading_table
from benchmarks.machine import describe
from benchmarks.profile import profile
from benchmarks.profile import table as profile_table
from benchmarks.rows.all_rows import ROWS, choose
from benchmarks.rows.row import run as run_row
from benchmarks.scaling import Curve, arithmetic, curves, draw, tables
from benchmarks.schedule import schedules
from benchmarks.schedule import table as schedule_table
from mink_pd.cli import console, progress
from mink_pd.config import load_config
from mink_pd.errors import MinkPDError


def perform(options: argparse.Namespace) -> None:
    """Do one of: list, show a table, profile, loader workers, latency, schedule, scaling curves, the table."""
    if options.list:
        for row in ROWS:
            console.print(f"{row.name:24} {row.what}, against {row.peer}", soft_wrap=True)
    elif options.markdown:
        show(options.markdown)
    elif options.profile:
        inputs = Inputs(options.frame)
        console.print(
            profile_table(options.profile, profile(options.profile, inputs, options.repeats), inputs.description)
        )
    elif options.loading:
        path, *overrides = options.loading
        found = loading(load_config(path, overrides), options.repeats)
        console.print(loading_table(found, f"training steps, {' '.join(options.loading)}"))
    elif options.latency:
        measure_latency(options.latency, Inputs(options.frame))
    elif options.schedule:
        measure_schedule(options.schedule, Inputs(options.frame))
    elif options.scaling:
        scale(options)
    else:
        compare(options)


def measure_latency(frames: int, inputs: Inputs) -> None:
    """Percentiles over a number of frames."""
    inputs.frame()  # a bad file stops the work before it starts
    console.print(results_table.machine(describe()), style="dim", soft_wrap=True)
    with progress("frames", frames) as advance:
        found, points = latency(inputs, frames, advance)
    console.print(latency_table(found, points, inputs.description), soft_wrap=True)


def measure_schedule(steps: int, inputs: Inputs) -> None:
    """Hours of the full schedule from so many steps."""
    inputs.frame()  # a bad file stops the work before it starts
    console.print(results_table.machine(describe()), style="dim", soft_wrap=True)
    with progress("steps", steps) as advance:
        found = schedules(inputs, steps, advance)
    console.print(schedule_table(found, f"{steps} steps each, {inputs.description}"), soft_wrap=True)


def show(path: Path) -> None:
    """What a JSON holds, as Markdown."""
    content = results_table.read(path)
    if "rows" in content:
        print(results_table.markdown(content))
        return
    print(results_table.machine(content["machine"]))
    for table in tables(content):
        console.print(table)


def compare(options: argparse.Namespace) -> None:
    """Measure the rows, print each when it is done, write the JSON."""
    rows = choose(options.only)
    results_table.check_writable(options.json)
    inputs = Inputs(options.frame)
    inputs.frame()  # a bad file stops the work before it starts
    machine = describe()
    console.print(results_table.machine(machine), style="dim", soft_wrap=True)
    console.print(results_table.heading())
    results = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(rows))
        for row in rows:
            progress.update(task, description=row.name)
            result = run_row(row, inputs, options.repeats, options.debug).to_json()
            results.append(result)
            console.print(results_table.line(result))
            for remark in results_table.remarks(result):
                console.print(f"  {remark}", style="dim", soft_wrap=True, markup=False)
            progress.advance(task)
    if options.json:
        results_table.write(options.json, {"machine": machine, "rows": results})
        console.print(f"written: {options.json}", soft_wrap=True)
    failed = [result["name"] for result in results if "error" in result]
    if failed:
        raise MinkPDError(f"not measured: {', '.join(failed)}; --debug shows the tracebacks")


def scale(options: argparse.Namespace) -> None:
    """Curves and the share of the arithmetic limit: tables, JSON and picture."""
    results_table.check_writable(options.scaling, options.picture)
    inputs = Inputs(options.frame)
    inputs.frame()
    machine = describe()

    def tell(curve: Curve) -> None:
        console.print(
            f"  {curve.work}, {curve.axis} {curve.x[-1]}: {curve.ms[-1]:.1f} ms, {curve.mb[-1]:.0f} MB", style="dim"
        )

    found = curves(inputs, options.repeats, done=tell)
    shares = arithmetic(inputs, options.repeats)
    entries = [{**asdict(curve), "slopes": curve.slopes()} for curve in found]
    content = {"machine": machine, "curves": entries, "arithmetic": shares}
    results_table.write(options.scaling, content)
    for table in tables(content):
        console.print(table)
    draw(found, options.picture)
    console.print(f"written: {options.scaling}, {options.picture}", soft_wrap=True)
