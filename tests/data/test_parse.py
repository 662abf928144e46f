"""Compiled parsing against float() and against the reader that goes line by line."""

from pathlib import Path

import numpy as np
import pytest

from mink_pd.data import labels
from mink_pd.data.labels import read_all_objects, read_objects
from mink_pd.data.parse import parse_lines
from mink_pd.errors import DataError

ODD = [
    "0", "-0", "+0.0", "1.", ".5", "-.5e1", "1e5", "1E-5", "1e+05", "0001.50", "123456789012345", "1234567890123456",
    "0.1", "0.3", "2.2250738585072014e-308", "1e22", "1e23", "1e-22", "1e-23", "9007199254740993",
    "0.000000000000000123",
    "100000000000000000000", "1.7976931348623157e308", "5e-324", "3.141592653589793", "-1000", "1e-400",
]  # fmt: skip
NO_NUMBERS = [
    "",
    "-",
    "+",
    ".",
    "e5",
    "1e",
    "1e+",
    "1..2",
    "1.2.3",
    "--1",
    "0x10",
    "1f",
    "1,5",
    "é",
    "nan",
    "inf",
    "1_0",
]


def line(numbers: list[str]) -> bytes:
    return f"Car {' '.join(numbers)}\n".encode()


def test_numbers_are_those_of_float() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 2000).view(np.float64)
    texts = [*ODD, *(repr(float(v)) for v in bits[np.isfinite(bits)])]
    values = rng.normal(0, 50, 5000)
    texts += [f"{v:.{rng.integers(0, 12)}f}" for v in values] + [f"{v:.9g}" for v in values]
    lines = parse_lines([line([text]) for text in texts], ["car"], [2])
    assert lines.plain.all()
    wanted = np.array([float(text) for text in texts])
    assert (lines.table[:, 0].view(np.int64) == wanted.view(np.int64)).all()  # the sign of zero too


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_plain_number_is_left_alone(text: str) -> None:
    lines = parse_lines([line(["1", "2"]), line(["1", text]), line(["3", "4"])], ["car"], [3])
    assert lines.plain.tolist() == [True, False, True]
    assert lines.table.tolist() == [[1, 2], [3, 4]]
    assert lines.first.tolist() == [0, 1, 1, 2]


def test_numbers_without_end_are_not_plain() -> None:
    assert not parse_lines([line(["1e999"])], ["car"], [2]).plain.any()


LABEL = "Car 0.15 1 -1.50 10.00 20.50 30.25 40.75 1.50 1.60 3.90 -2.00 1.70 20.00 -1.57"


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "\n\n  \n", LABEL, f"{LABEL}\n{LABEL}", f"{LABEL}\r\n{LABEL}\r\n",
        f"\t{LABEL.replace(' ', '  ')} \t\n\n",
        f"{LABEL} 0.5\n", LABEL.replace("Car", "cYCLIST"),
        LABEL.replace(" 1 ", " 1.0 "), LABEL.replace("1.70", "+1.7e0"),
        f"{LABEL}\r{LABEL}\n", LABEL.replace("20.50", "2_0.5"), f"{LABEL}\x0c\n{LABEL}",
        LABEL.replace("1.70", "1.7000000000000001"),
    ],
)  # fmt: skip
def test_both_readers_agree(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    spelling = {name.lower(): name for name in (*labels.CLASSES, labels.DONT_CARE)}
    ours, wanted = read_objects(path), labels._read_with_care(path, spelling, None)
    for key, value in vars(wanted).items():
        if value is None:
            assert getattr(ours, key) is None
        else:
            np.testing.assert_array_equal(getattr(ours, key), value)
            assert getattr(ours, key).dtype.kind == value.dtype.kind


def test_files_are_kept_apart_and_the_faulty_one_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_text(f"{LABEL} {n}.5\n" * n)
    rows = read_all_objects(paths, scores=True)
    assert [len(objects) for objects in rows] == [0, 1, 2, 3, 4]
    assert [objects.score.tolist() for objects in rows if objects.score is not None] == [
        [n + 0.5] * n for n in range(5)
    ]
    paths[3].write_text(f"{LABEL} 0.5\n{LABEL} 0.x5\n")
    with pytest.raises(DataError, match=r"3\.txt:2: '0\.x5' is not a number"):
        read_all_objects(paths, scores=True)
    paths[3].unlink()
    with pytest.raises(DataError, match=r"3\.txt: cannot be read"):
        read_all_objects(paths, scores=True)
