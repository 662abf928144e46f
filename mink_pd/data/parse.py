"""Lines of a name and numbers, parsed for many files in one compiled pass.

Only what nearly every file looks like is parsed here: plain ASCII, known names, the right number of decimal numbers.
A file with anything else is marked as not plain and left to a reader that can say what is wrong with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mink_pd.jit import njit

# A number m 10^e with m below 10^15 and e from -22 to 22 is one multiplication or division of exact doubles, which
# rounds correctly, as float() does (Clinger, PLDI 1990). Others are left to float() itself.
_EXACT_DIGITS, _EXACT_POWER = 15, 22
_POWERS = np.array([10.0**n for n in range(_EXACT_POWER + 1)])
_TAB, _NEWLINE, _RETURN, _SPACE, _PLUS, _MINUS, _POINT, _ZERO, _NINE = b"\t\n\r +-.09"
_E, _A, _Z, _TO_LOWER = ord("e"), ord("A"), ord("Z"), 32
_NOT_A_NUMBER, _EXACT, _HARD = 0, 1, 2


@dataclass
class Lines:
    """The lines of F files, one after the other.

    plain (F,) bool: whether the file could be parsed here; the others have no lines. first (F + 1,) int64: where each
    file's lines begin; width (F,) int64: fields a line, 0 for an empty file; name (N,) int64, which of the known
    names; table (N, most) float64, the numbers after it.
    """

    plain: np.ndarray
    first: np.ndarray
    width: np.ndarray
    name: np.ndarray
    table: np.ndarray


def parse_lines(texts: Sequence[bytes], names: Sequence[str], widths: Sequence[int]) -> Lines:
    """Parse files whose lines have a name and numbers, ``widths`` fields in all, alike throughout a file.

    names: those that are known, in lower case; case makes no difference. The numbers are those of ``float``.
    """
    text = np.frombuffer(b"".join(texts), dtype=np.uint8)
    first = np.cumsum([0, *(len(part) for part in texts)])
    known = [name.encode() for name in names]
    spelling = np.frombuffer(b"".join(known), dtype=np.uint8)
    spelling_first = np.cumsum([0, *(len(name) for name in known)])
    most = np.count_nonzero(text == _NEWLINE) + len(texts)
    table = np.empty((most, max(widths) - 1))
    parsed = _parse(text, first, spelling, spelling_first, np.array(widths, dtype=np.int64), table)
    plain, line_first, width, name, hard = parsed
    for line, column, begin, end in hard.tolist():
        table[line, column] = float(text[begin:end].tobytes())
    lines = Lines(plain, line_first, width, name, table[: len(name)])
    for line in hard[~np.isfinite(table[hard[:, 0], hard[:, 1]]), 0]:
        plain[np.searchsorted(line_first, line, side="right") - 1] = False
    return lines


@njit(nogil=True)
def _parse(
    text: np.ndarray,
    first: np.ndarray,
    names: np.ndarray,
    names_first: np.ndarray,
    widths: np.ndarray,
    table: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fills the table; returns the fields of Lines, and line, column, begin and end of what is left to float()."""
    files = len(first) - 1
    plain, width = np.ones(files, dtype=np.bool_), np.zeros(files, dtype=np.int64)
    line_first, kind = np.zeros(files + 1, dtype=np.int64), np.empty(len(table), dtype=np.int64)
    hard = np.empty((16, 4), dtype=np.int64)
    line = hard_count = 0
    for f in range(files):
        hard_before = hard_count
        at, end = first[f], first[f + 1]
        while at < end and plain[f]:
            name, column = -1, 0
            while True:  # the fields of a line
                at = _after_blanks(text, at, end)
                if at == end or text[at] == _NEWLINE:
                    at += 1
                    break
                begin = at
                while at < end and text[at] > _SPACE:
                    at += 1
                if name < 0:
                    name = _find(text, begin, at, names, names_first)
                    if name < 0:
                        plain[f] = False
                        break
                    continue
                if begin == at or column == table.shape[1]:  # a control character, or too many fields
                    plain[f] = False
                    break
                value, verdict = _number(text, begin, at)
                if verdict == _NOT_A_NUMBER:
                    plain[f] = False
                    break
                if verdict == _HARD:
                    if hard_count == len(hard):
                        hard = np.concatenate((hard, np.empty_like(hard)))
                    hard[hard_count] = line, column, begin, at
                    hard_count += 1
                table[line, column] = value
                column += 1
            if name >= 0 and plain[f]:
                if width[f] == 0 and column + 1 in widths:
                    width[f] = column + 1
                plain[f] = width[f] == column + 1
                kind[line] = name
                line += 1
        if not plain[f]:
            line, hard_count = line_first[f], hard_before
        line_first[f + 1] = line
    return plain, line_first, width, kind[:line].copy(), hard[:hard_count].copy()


@njit(nogil=True)
def _after_blanks(text: np.ndarray, at: int, end: int) -> int:
    """Where the next field or the line's end is; the carriage return of a line's end counts as blank."""
    while at < end and (text[at] == _SPACE or text[at] == _TAB):
        at += 1
    if at + 1 < end and text[at] == _RETURN and text[at + 1] == _NEWLINE:
        at += 1
    return at


@njit(nogil=True)
def _find(text: np.ndarray, begin: int, end: int, names: np.ndarray, first: np.ndarray) -> int:
    """Which name text[begin:end] is, whatever its case; -1 for none."""
    for n in range(len(first) - 1):
        if first[n + 1] - first[n] != end - begin:
            continue
        same = True
        for k in range(end - begin):
            letter = text[begin + k]
            if _A <= letter <= _Z:
                letter += _TO_LOWER
            same &= letter == names[first[n] + k]
        if same:
            return n
    return -1


@njit(nogil=True)
def _number(text: np.ndarray, begin: int, end: int) -> tuple[float, int]:
    """The value of text[begin:end] and whether it is exact, left to float(), or no decimal number."""
    at = begin
    negative = text[at] == _MINUS
    if negative or text[at] == _PLUS:
        at += 1
    mantissa, significant, digits, power = 0, 0, 0, 0
    fraction = False
    while at < end:
        if text[at] == _POINT and not fraction:
            fraction = True
        elif _ZERO <= text[at] <= _NINE:
            digits += 1
            power -= fraction
            if significant or text[at] != _ZERO:
                significant += 1
            if significant <= _EXACT_DIGITS:
                mantissa = 10 * mantissa + (text[at] - _ZERO)
        else:
            break
        at += 1
    if digits == 0:
        return 0.0, _NOT_A_NUMBER
    if at < end:
        if text[at] | _TO_LOWER != _E:
            return 0.0, _NOT_A_NUMBER
        at += 1
        down = at < end and text[at] == _MINUS
        if at < end and (down or text[at] == _PLUS):
            at += 1
        if at == end:
            return 0.0, _NOT_A_NUMBER
        exponent = 0
        while at < end:
            if not _ZERO <= text[at] <= _NINE:
                return 0.0, _NOT_A_NUMBER
            exponent = min(10 * exponent + (text[at] - _ZERO), 100000)
            at += 1
        power += -exponent if down else exponent
    if significant > _EXACT_DIGITS or abs(power) > _EXACT_POWER:
        return 0.0, _HARD
    value = mantissa * _POWERS[power] if power >= 0 else mantissa / _POWERS[-power]
    return -value if negative else value, _EXACT
