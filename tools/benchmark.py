"""Measures speed in comparison with peers that do the same work."""

import argparse
import sys
from pathlib import Path

from mink_pd.cli import parser, run

PICTURE = Path("docs/images/scaling.png")


def main(options: argparse.Namespace) -> None:
    """Import what measures, which takes seconds that --help does without."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not a part of the installed package
    from benchmarks.commands import perform

    perform(options)


def count(text: str) -> int:
    """A whole number above 0."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return int(text)


if __name__ == "__main__":
    arguments = parser(
        "Compare speed with peers that do the same work: alternately in one process, medians after warm-up."
        " Give the machine nothing else to do meanwhile. docs/performance.md explains the rows."
    )
    arguments.add_argument("--json", type=Path, metavar="OUT", help="write machine and rows to this file")
    arguments.add_argument("--only", nargs="+", metavar="NAME", help="measure these rows only")
    arguments.add_argument(
        "--frame", type=Path, metavar="PATH.bin", help="measure on this point cloud, not on simulated ones"
    )
    arguments.add_argument("--repeats", type=count, default=9, help="timed runs of each side")
    other = arguments.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="list the rows and stop")
    other.add_argument(
        "--markdown", type=Path, metavar="FROM.json", help="print the table of a JSON as Markdown and stop"
    )
    other.add_argument(
        "--scaling",
        type=Path,
        metavar="OUT.json",
        help="scaling curves instead: time and memory against points, batch, threads",
    )
    other.add_argument("--profile", choices=("train", "detect", "distil"), help="share of the time by stage instead")
    other.add_argument(
        "--latency",
        type=count,
        metavar="FRAMES",
        help="measure latency of detection instead: percentiles over this number of simulated frames, and memory",
    )
    other.add_argument(
        "--schedule",
        type=count,
        metavar="STEPS",
        help="hours of the full KITTI schedule instead, from so many training steps of teacher, student and distilled",
    )
    other.add_argument(
        "--loading",
        nargs="+",
        metavar=("CONFIG.yaml", "key=value"),
        help="training steps by loader workers and threads instead",
    )
    arguments.add_argument(
        "--picture", type=Path, default=PICTURE, metavar="PNG", help="where --scaling draws its curves"
    )
    run(main, arguments)
