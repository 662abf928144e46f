"""Make a page about finished runs: tables, curves, pictures, and one frame in 3D."""

import argparse

from mink_pd.cli import console
from mink_pd.errors import MinkPDError
from mink_pd.files import check_writable_folder
from mink_pd.report.page import make_report, write_page
from mink_pd.report.statements import finding


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
        console.print(f"{group.title}: {finding(group)}", soft_wrap=True)
    for line in report.left_out:
        console.print(f"left out: {line}", soft_wrap=True)
    for line in report.missing:
        console.print(line, soft_wrap=True)
    console.print(f"{page}", soft_wrap=True)
