"""Make a page about finished runs: tables, curves, pictures, and one frame in 3D."""

import argparse
from pathlib import Path

from mink_pd.cli import console
from mink_pd.commands.options import add_data, add_frame_id
from mink_pd.errors import MinkPDError
from mink_pd.files import check_writable_folder
from mink_pd.report.page import make_report, write_page
from mink_pd.report.statements import finding

DESCRIPTION = (
    "One page about finished runs, a file that needs nothing but a browser: mean and 95 % interval over seeds,"
    " gains paired by seed with their controls, curves, cost, pictures, and one validation frame in 3D."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run folders, or folders that hold them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for index.html")
    add_data(parser, "of the runs", "for cost and pictures: ")
    add_frame_id(parser)


def main(options: argparse.Namespace) -> None:
    """Read, measure, draw, write; say what is left out or missing."""
    made = not options.out.exists()
    check_writable_folder(options.out)
    try:
        report = make_report(options.runs, options.data, options.frame)
    except MinkPDError:
        if made:
            options.out.rmdir()
        raise
    page = write_page(report, options.out)
    for group in report.groups:
        console.print(f"{group.title}: {finding(group)}", soft_wrap=True, markup=False)
    for line in report.left_out:
        console.print(f"left out: {line}", soft_wrap=True, markup=False)
    for line in report.missing:
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"{page}", soft_wrap=True, markup=False)
