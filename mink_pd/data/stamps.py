"""The order of time stamps."""

from collections.abc import Callable, Sequence

from mink_pd.errors import DataError


def check_order(stamps: Sequence[int], where: Callable[[int], str], one: str, remedy: str) -> None:
    """Raise DataError if time stamps [ns] run backwards; equal ones may follow each other.

    where: the beginning of the message for the stamp with that index. one: what a stamp belongs to, such as "message".
    remedy: the end of the message.
    """
    for index in range(1, len(stamps)):
        back = stamps[index - 1] - stamps[index]
        if back > 0:
            raise DataError(
                f"{where(index)}: its time stamp is {back / 1e9:.3f} s before that of the {one} before; {remedy}"
            )
