"""The types of option values. A value that does not fit raises ``ArgumentTypeError``, or ValueError for no number."""

import argparse

from mink_pd.config.points import NONE


def class_iou(text: str) -> tuple[str, float]:
    """CLASS=IOU."""
    name, separator, value = text.rpartition("=")
    try:
        iou = float(value)
    except ValueError:
        iou = -1.0
    if not (separator and name and 0 <= iou < 1):
        raise argparse.ArgumentTypeError(f"'{text}' is not CLASS=IOU with an IoU from 0 to less than 1")
    return name, iou


def count(text: str) -> int:
    """A whole number >= 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number >= 1."""
    if count(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is less than 1")
    return int(text)


def above_zero(text: str) -> float:
    """A number > 0, such as a frequency."""
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number > 0")
    return float(text)


def probability(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return float(text)


def intensity(text: str) -> float | str:
    """A full scale, or the word none."""
    return text if text == NONE else float(text)


def compressions(text: str) -> list[float]:
    """Numbers from 1, separated by commas."""
    values = [float(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{min(values):g} is less than 1")
    return values
