from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mink_pd.data.kitti.labels import read_all_objects, read_objects, write_objects
from mink_pd.data.objects import Objects
from mink_pd.errors import ConfigError, DataError

CAR = "Car 0.15 1 -1.50 10.00 20.50 30.25 40.75 1.50 1.60 3.90 -2.00 1.70 20.00 -1.57"
DONT_CARE = "DontCare -1 -1 -10 5.00 229.89 214.12 367.61 -1 -1 -1 -1000 -1000 -1000 -10"


def test_every_field_lands_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{CAR}\n{DONT_CARE}\n")
    rows = read_objects(path)
    assert rows.names.tolist() == ["Car", "DontCare"]
    assert rows.truncated.tolist() == [0.15, -1]  # in double precision, as 0.15 in the evaluator's limit
    assert rows.occluded.tolist() == [1, -1]
    assert rows.occluded.dtype == np.int64
    assert rows.alpha.tolist() == [-1.5, -10]
    assert rows.bbox[0].tolist() == [10, 20.5, 30.25, 40.75]
    assert rows.dimensions[0].tolist() == [1.5, 1.6, 3.9]
    assert rows.location[0].tolist() == [-2, 1.7, 20]
    assert rows.rotation_y[0] == -1.57
    assert rows.score is None


def test_a_label_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    text = f"{CAR}\n{DONT_CARE}\nTram 0.00 3 -0.00 1.00 2.00 3.00 4.00 1.20 0.50 0.80 1.00 2.00 3.00 3.14\n"
    (tmp_path / "a.txt").write_text(text)
    write_objects(tmp_path / "b.txt", read_objects(tmp_path / "a.txt"))
    assert (tmp_path / "b.txt").read_text() == text


@pytest.mark.parametrize("folder", ["kitti_real/training/label_2", "kitti_eval_cases/large/label_2"])
def test_official_label_files_come_back_byte_for_byte(
    shared: Callable[[str], Path], tmp_path: Path, folder: str
) -> None:
    name, _, rest = folder.partition("/")
    paths = sorted((shared(name) / rest).glob("*.txt"))
    assert paths
    for path in paths:
        write_objects(tmp_path / "b.txt", read_objects(path))
        assert (tmp_path / "b.txt").read_text().split("\n") == path.read_text().split("\n")


def test_detections_lose_nothing_that_float32_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.uniform(-70, 70, (50, 12)).astype(np.float32).astype(np.float64)
    numbers[:, 1:5] = np.sort(np.abs(numbers[:, 1:5]).reshape(50, 2, 2), axis=1).reshape(50, 4)
    numbers[:, 5:8] = np.abs(numbers[:, 5:8]) + 0.1
    numbers[:, 11] /= 20
    scores = rng.normal(size=50).astype(np.float32)
    rows = Objects(
        np.array(["Cyclist"] * 50), np.full(50, -1.0), np.full(50, -1), numbers[:, 0], numbers[:, 1:5],
        numbers[:, 5:8], numbers[:, 8:11], numbers[:, 11], scores.astype(np.float64),
    )  # fmt: skip
    write_objects(tmp_path / "a.txt", rows)
    back = read_objects(tmp_path / "a.txt")
    assert back.score is not None
    assert (back.score.astype(np.float32) == scores).all()  # ties and order stay as they were
    np.testing.assert_allclose(back.location, rows.location, atol=6e-7)
    np.testing.assert_allclose(back.bbox, rows.bbox, atol=6e-7)
    assert (tmp_path / "a.txt").read_text().startswith("Cyclist -1 -1 ")


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    rows = read_objects(tmp_path / "a.txt")
    assert len(rows) == 0
    assert rows.bbox.shape == (0, 4)
    write_objects(tmp_path / "b.txt", rows)
    assert (tmp_path / "b.txt").read_text() == ""


def test_names_are_told_apart_without_regard_to_case(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(CAR.replace("Car", "CAR"))
    assert read_objects(tmp_path / "a.txt").names.tolist() == ["Car"]


def test_configured_classes_are_known(tmp_path: Path) -> None:
    name = "A_class_with_a_long_name"
    (tmp_path / "a.txt").write_text(CAR.replace("Car", name))
    assert read_objects(tmp_path / "a.txt", classes=[name]).names.tolist() == [name]


@pytest.mark.parametrize("name", ["Traffic Cone", "Traffic\u00a0Cone", "Cone ", ""])
def test_a_class_with_white_space_is_neither_written_nor_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text(CAR)
    with pytest.raises(ConfigError, match="white space, which separates the fields"):
        read_objects(tmp_path / "a.txt", classes=["Car", name])
    rows = read_objects(tmp_path / "a.txt")
    rows.names = np.array([name])
    with pytest.raises(ConfigError, match="white space, which separates the fields"):
        write_objects(tmp_path / "b.txt", rows)
    assert not (tmp_path / "b.txt").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CAR.rsplit(" ", 1)[0], "14 fields instead of 15"),
        (f"{CAR} 0.5 7", "17 fields instead of 15"),
        (f"{CAR} 0.5", "16 fields instead of 15"),  # the lines before are labels
        (CAR.replace("20.50", "2O.50"), "'2O.50' is not a number"),
        (CAR.replace("20.50", "nan"), "contains a number that is NaN"),
        (CAR.replace(" 1 ", " 1.5 "), "occluded (the third field) is not a whole number"),
        (CAR.replace("Car", "Kar"), "unknown class 'Kar'"),
        (CAR.replace("1.60", "0.00"), "height, width or length is not above 0"),
        (CAR.replace("1.60", "-1.60"), "height, width or length is not above 0"),
        (CAR.replace("-1.57", "90.00"), "rotation_y is beyond 2 pi"),
        (CAR.replace("10.00 20.50 30.25", "30.25 20.50 10.00"), "the image box goes from right to left"),
        (CAR.replace("20.50 30.25 40.75", "40.75 30.25 20.50"), "the image box goes from right to left or from bottom"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{CAR}\n\n{line}\n")
    with pytest.raises(DataError) as error:
        read_objects(path)
    assert str(error.value).startswith(f"{path}:3: {message}")
    assert "\n" not in str(error.value)


def test_whether_scores_are_wanted_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(CAR)
    with pytest.raises(DataError, match="15 fields instead of 16"):
        read_objects(path, scores=True)
    path.write_text(f"{CAR} 0.5")
    with pytest.raises(DataError, match="16 fields instead of 15"):
        read_objects(path, scores=False)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: cannot be read"):
        read_objects(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.txt: not a text file"):
        read_objects(tmp_path / "a.txt")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(CAR)
    rows = read_objects(path)
    rows.location = rows.location[:0]  # the second half of the line cannot be made
    with pytest.raises(IndexError):
        write_objects(path, rows)
    assert path.read_text() == CAR
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(CAR)
    with pytest.raises(DataError, match="cannot be written"):
        write_objects(tmp_path / "none" / "a.txt", read_objects(tmp_path / "a.txt"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_read_over(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_text(f"{CAR}\r\n{DONT_CARE}\n", encoding=encoding)
    assert read_objects(tmp_path / "a.txt").names.tolist() == ["Car", "DontCare"]


def test_detections_in_the_image_alone_have_no_box_in_space(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Car -1 -1 -10 5 6 7 8 -1 -1 -1 -1000 -1000 -1000 -10 0.9\n")
    assert read_objects(tmp_path / "a.txt").bbox.tolist() == [[5, 6, 7, 8]]


def test_many_files_are_kept_apart_and_the_faulty_one_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_text(f"{CAR} {n}.5\n" * n)
    rows = read_all_objects(paths, scores=True)
    assert [objects.score.tolist() for objects in rows if objects.score is not None][1:] == [
        [n + 0.5] * n for n in range(1, 5)
    ]
    paths[3].write_text(f"{CAR} 0.5\n{CAR} 0.x5\n")
    with pytest.raises(DataError, match=r"3\.txt:2: '0\.x5' is not a number"):
        read_all_objects(paths, scores=True)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_named(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is put in place of a part of a label file: rows of finite numbers, or one line that names the file."""
    content = f"{CAR}\n{DONT_CARE}\n{CAR}\n".encode()
    at, length = data.draw(st.integers(0, len(content))), data.draw(st.integers(0, 30))
    odd = st.sampled_from([b"nan", b"1e999", b"-1", b"1_0", b"\xff\xfe", b"\x00", b"\n", b"inf", b"9" * 400])
    content = content[:at] + data.draw(st.one_of(odd, st.binary(max_size=6))) + content[at + length :]
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    message = ""
    try:
        rows = read_objects(path)
        assert np.isfinite(rows.location).all()
        assert (rows.dimensions[rows.names != "DontCare"] > 0).all()
    except DataError as error:
        message = str(error)
    assert not message or message.startswith(f"{path}:")
    assert "\n" not in message
