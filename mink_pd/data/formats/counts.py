"""The number of points that a header states against the number that is there."""

from pathlib import Path

from mink_pd.errors import DataError


def check_count(stated: int, present: int, path: Path) -> None:
    """Raise DataError if a file holds fewer or more points than its header states."""
    if present < stated:
        raise DataError(f"{path}: truncated, {present} of {stated} points are there; copy the file again")
    if present > stated:  # of a writer that died before it could correct the header, or of a wrong one
        raise DataError(
            f"{path}: its header states {stated} points, but {present} are there, as if it was never closed; write it"
            " again"
        )
