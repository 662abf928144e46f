"""The evaluator against the official one's figures, and small cases with answers worked out by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mink_pd.data.objects import Objects
from mink_pd.errors import DataError
from mink_pd.evaluate.kitti import (
    Result,
    evaluate_folders,
    evaluate_kitti,
    load_folders,
    mean_average_precision,
    operating_points,
)
from mink_pd.evaluate.rules import thresholds

Row = dict[str, object]
SHAPES: dict[str, tuple[int, ...]] = {
    "truncated": (),
    "occluded": (),
    "alpha": (),
    "bbox": (4,),
    "dimensions": (3,),
    "location": (3,),
    "rotation_y": (),
}


def row(name: str = "Car", x: float = 0, score: float = 0, **changes: object) -> Row:
    """One object with a 100 x 50 px image box, 20 m ahead; ``x`` shifts it by metres and tens of pixels."""
    values: Row = {
        "names": name,
        "truncated": 0,
        "occluded": 0,
        "alpha": 0,
        "rotation_y": 0,
        "score": score,
        "bbox": [300 + 10 * x, 150, 400 + 10 * x, 200],
        "dimensions": [1.5, 1.6, 4],
        "location": [x, 1.6, 20],
    }
    return values | changes


def objects(rows: list[Row], scored: bool = False) -> Objects:
    arrays = {
        name: np.array([entry[name] for entry in rows], dtype=float).reshape(len(rows), *shape)
        for name, shape in SHAPES.items()
    }
    names = np.array([entry["names"] for entry in rows], dtype="<U16")
    score = np.array([entry["score"] for entry in rows], dtype=float)
    return Objects(names=names, **arrays, score=score if scored else None)


def evaluate(*frames: tuple[list[Row], list[Row]]) -> Result:
    """Evaluate frames given as (label rows, detection rows)."""
    labels = {str(i): objects(truth) for i, (truth, _) in enumerate(frames)}
    detections = {str(i): objects(found, scored=True) for i, (_, found) in enumerate(frames)}
    return evaluate_kitti(labels, detections)


def perfect(count: int, first: int = 0) -> list[tuple[list[Row], list[Row]]]:
    """Frames with one Car each, found exactly, with falling scores."""
    return [([row(x=1)], [row(x=1, score=1 - (first + i) / 1000)]) for i in range(count)]


@pytest.mark.parametrize("case", ["small", "large"])
def test_equals_the_official_evaluator(shared: Callable[[str], Path], case: str) -> None:
    folder = shared("kitti_eval_cases") / case
    expected = json.loads((folder / "expected.json").read_text())
    found = evaluate_folders(folder / "label_2", folder / "detections")
    assert {name: list(metrics) for name, metrics in found.items()} == {
        name: list(metrics) for name, metrics in expected.items()
    }
    for name, metrics in expected.items():
        for metric, figures in metrics.items():
            for recall, values in figures.items():
                np.testing.assert_allclose(
                    found[name][metric][recall], values, atol=1e-6, err_msg=f"{name} {metric} {recall}"
                )


@pytest.mark.parametrize(("count", "points"), [(41, 41), (80, 41), (400, 41), (40, 40), (13, 13), (1, 1)])
def test_perfect_detections_reach_100_from_41_labels_on(count: int, points: int) -> None:
    # Fewer labels make fewer score cuts, the first of which is point 0 of the curve: the official quirk.
    result = evaluate(*perfect(count))["Car"]
    for metric in ("bbox", "aos", "bev", "3d"):
        assert result[metric]["R40"] == pytest.approx([100 * (points - 1) / 40] * 3)
        assert result[metric]["R11"] == pytest.approx([100 * len(range(0, points, 4)) / 11] * 3)


def test_half_of_the_labels_found_gives_half_the_curve() -> None:
    missed: list[tuple[list[Row], list[Row]]] = [([row()], []) for _ in range(40)]
    # Cuts at the 1st, 2nd, 4th, ... 40th of 80: points 0 to 20.
    assert evaluate(*perfect(40), *missed)["Car"]["3d"]["R40"] == pytest.approx([50, 50, 50])


def test_false_positives_count_only_above_the_cut() -> None:
    low = [([], [row(score=-1)]) for _ in range(80)]
    high = [([], [row(score=2)]) for _ in range(80)]
    assert evaluate(*perfect(80), *low)["Car"]["3d"]["R40"] == pytest.approx([100, 100, 100])
    # Precision rises to 80 / 160 at the last cut, and each point takes the best of the later ones.
    assert evaluate(*perfect(80), *high)["Car"]["3d"]["R40"] == pytest.approx([50, 50, 50])


@pytest.mark.parametrize(
    ("label", "detection", "expected"),
    [
        ("Car", "Car", 100),  # 41 labels, 41 found
        ("car", "CAR", 100),  # case does not matter
        ("Car", "Pedestrian", 97.5),  # 41 labels, 40 found: another class takes no part
        ("Van", "Car", 97.5),  # still 40 labels, 40 found: the neighbour class is ignored
        ("Van", "Van", 97.5),
        ("Truck", "Car", 97.5 * 40 / 41),  # one false positive above all others
        ("DontCare", "Car", 97.5 * 40 / 41),  # no box in space: excuses nothing
    ],
)
def test_classes(label: str, detection: str, expected: float) -> None:
    result = evaluate(*perfect(40), ([row(label, x=9)], [row(detection, x=9, score=2)]))
    assert result["Car"]["3d"]["R40"] == pytest.approx([expected] * 3)


def test_a_second_detection_on_an_ignored_label_is_a_false_positive() -> None:
    twice = ([row("Van", x=9)], [row(x=9, score=2), row(x=9, score=2)])
    assert evaluate(*perfect(80), twice)["Car"]["3d"]["R40"] == pytest.approx([100 * 80 / 81] * 3)


def test_labels_choose_in_file_order() -> None:
    # One detection fits both; the Van takes it when it comes first, and the Car is then missed.
    both = [row("Van", x=9), row(x=9)]
    taken = evaluate(*perfect(40), (both, [row(x=9, score=2)]))["Car"]["3d"]["R40"]
    found = evaluate(*perfect(40), (both[::-1], [row(x=9, score=2)]))["Car"]["3d"]["R40"]
    assert taken == pytest.approx([97.5] * 3)
    assert found == pytest.approx([100] * 3)


def test_dont_care_excuses_in_the_image_only_and_by_the_detections_own_area() -> None:
    region = row("DontCare", bbox=[0, 0, 1242, 375], dimensions=[-1] * 3, location=[-1000] * 3, alpha=-10)
    stray = row(x=9, score=2)
    result = evaluate(*perfect(80), ([region], [stray]))["Car"]
    assert result["bbox"]["R40"] == pytest.approx([100] * 3)
    assert result["aos"]["R40"] == pytest.approx([100] * 3)
    assert result["bev"]["R40"] == result["3d"]["R40"] == pytest.approx([100 * 80 / 81] * 3)
    # Exactly 0.7 of the detection's area is not enough.
    partly = region | {"bbox": [390, 150, 460, 200]}
    result = evaluate(*perfect(80), ([partly], [stray]))["Car"]
    assert result["bbox"]["R40"] == pytest.approx([100 * 80 / 81] * 3)


def test_small_detections_are_never_false_positives_and_find_nothing() -> None:
    small = {"bbox": [600, 150, 640, 174]}  # 24 px
    stray = evaluate(*perfect(80), ([], [row(score=2, **small)]))["Car"]["3d"]
    assert stray["R40"] == pytest.approx([100] * 3)
    # A counted label with a small detection of any class is neither found nor missed, but one to be found.
    for name in ("Car", "Cyclist"):
        frame = ([row(x=9)], [row(name, x=9, score=2, **small)])
        assert evaluate(*perfect(40), frame)["Car"]["3d"]["R40"] == pytest.approx([97.5] * 3)


@pytest.mark.parametrize(("order", "small_score", "expected"), [(1, 2, 0), (1, 0, 100), (1, 1, 0), (-1, 1, 100)])
def test_first_pass_takes_the_highest_score_even_if_small(order: int, small_score: float, expected: float) -> None:
    # A small Cyclist on a Car hides the Car's detection when it scores higher, or as high and comes first.
    pair = [row("Cyclist", score=small_score, bbox=[600, 150, 640, 174]), row(score=1)]
    figures = evaluate(*[([row()], pair[::order])] * 41)["Car"]["3d"]["R40"]
    assert figures == pytest.approx([expected] * 3)


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        ({"occluded": 1}, 2),
        ({"occluded": 2}, 1),
        ({"occluded": 3}, 0),
        ({"truncated": 0.15}, 3),
        ({"truncated": 0.3}, 2),
        ({"truncated": 0.5}, 1),
        ({"truncated": 0.51}, 0),
        ({"bbox": [0, 100, 50, 139]}, 2),
        ({"bbox": [0, 100, 50, 124]}, 0),
    ],
)
def test_levels_count_labels_by_height_occlusion_and_truncation(change: Row, levels: int) -> None:
    figures = evaluate(([row() | change], []))["Car"]["3d"]["R40"]
    assert figures == [None] * (3 - levels) + [0] * levels


def test_overlap_exactly_at_the_threshold_is_no_match() -> None:
    label = row(bbox=[100, 100, 200, 200])
    at = row(bbox=[100, 100, 170, 200], score=1)  # 7000 / 10000
    above = row(bbox=[100, 100, 170.01, 200], score=1)
    assert evaluate(*[([label], [at])] * 41)["Car"]["bbox"]["R40"] == [0, 0, 0]
    assert evaluate(*[([label], [above])] * 41)["Car"]["bbox"]["R40"] == pytest.approx([100] * 3)


@pytest.mark.parametrize(("turn", "similarity"), [(np.pi, 0), (np.pi / 2, 50), (2 * np.pi, 100)])
def test_orientation_similarity(turn: float, similarity: float) -> None:
    frames = [([row(alpha=0.3)], [row(alpha=0.3 + turn, score=1 - i / 100)]) for i in range(41)]
    result = evaluate(*frames)["Car"]
    assert result["aos"]["R40"] == pytest.approx([similarity] * 3, abs=1e-9)
    assert result["bbox"]["R40"] == pytest.approx([100] * 3)


def test_a_detection_without_alpha_turns_aos_off() -> None:
    result = evaluate(*perfect(50), ([], [row(score=0, alpha=-10)]))["Car"]
    assert result["aos"] == {"R40": [None] * 3, "R11": [None] * 3}
    assert result["bbox"]["R40"] == pytest.approx([100] * 3)


def test_classes_without_labels_have_no_figure_and_stay_out_of_the_mean() -> None:
    result = evaluate(*perfect(50), ([], [row("Pedestrian", score=1)]))
    assert result["Pedestrian"]["3d"]["R40"] == [None] * 3
    assert mean_average_precision(result) == pytest.approx({"bev": 100, "3d": 100})
    assert mean_average_precision(evaluate(([], []))) == {"bev": None, "3d": None}


def test_labels_without_any_detection_give_zero() -> None:
    assert evaluate(([row()], []))["Car"]["3d"]["R40"] == [0, 0, 0]


def test_mean_over_the_classes() -> None:
    missed = [([row("Cyclist")], [])]
    assert mean_average_precision(evaluate(*perfect(50), *missed)) == pytest.approx({"bev": 50, "3d": 50})


def test_the_mean_is_over_the_classes_that_are_asked_for() -> None:
    frames = [*perfect(50), ([row("Pedestrian"), row("Forklift", x=5)], [])]
    labels = {str(i): objects(truth) for i, (truth, _) in enumerate(frames)}
    found = {str(i): objects(rows, scored=True) for i, (_, rows) in enumerate(frames)}
    for classes, mean in ((["Car"], 100), (["car"], 100), (["Car", "Pedestrian"], 50), (["Car", "Forklift"], 50)):
        result = evaluate_kitti(labels, found, thresholds(classes))
        assert list(result) == classes
        assert mean_average_precision(result) == pytest.approx({"bev": mean, "3d": mean})
        assert list(operating_points(labels, found, min_iou=thresholds(classes))) == classes


def test_thresholds_of_own_classes() -> None:
    assert thresholds(["Car", "cyclist", "Forklift"]) == {"Car": 0.7, "cyclist": 0.5, "Forklift": 0.5}
    assert thresholds(["Forklift", "Car"], {"Forklift": 0.3, "Car": 0.6}) == {"Forklift": 0.3, "Car": 0.6}


@pytest.mark.parametrize(("iou", "expected"), [(0.5, 100), (0.7, 0)])
def test_a_class_of_ones_own_at_its_threshold(iou: float, expected: float) -> None:
    # Moved by 1 m of 4 m along x, the boxes share 3 of 5 parts.
    size = {"rotation_y": 0, "bbox": [300, 150, 400, 200]}
    frames = [([row("Forklift", **size)], [row("Forklift", x=1, score=1 - i / 100, **size)]) for i in range(41)]
    labels = {str(i): objects(truth) for i, (truth, _) in enumerate(frames)}
    found = {str(i): objects(rows, scored=True) for i, (_, rows) in enumerate(frames)}
    result = evaluate_kitti(labels, found, {"Forklift": iou})
    assert result["Forklift"]["3d"]["R40"] == pytest.approx([expected] * 3)


def test_without_image_rules_every_label_counts_and_no_detection_is_small() -> None:
    hidden = {"occluded": 3, "truncated": 0.9, "bbox": [0, 0, 0, 0]}
    labels = {str(i): objects([row(**hidden)]) for i in range(41)}
    found = {str(i): objects([row(score=1 - i / 100, bbox=[0, 0, 0, 0])], scored=True) for i in range(41)}
    assert evaluate_kitti(labels, found)["Car"]["3d"]["R40"] == [None] * 3
    result = evaluate_kitti(labels, found, image_rules=False)["Car"]
    assert result["3d"]["R40"] == result["bev"]["R40"] == pytest.approx([100] * 3)
    assert result["bbox"]["R40"] == result["aos"]["R40"] == [None] * 3


def test_operating_point_is_where_f1_is_highest() -> None:
    # 20 found above 0.9 without a false positive; 5 more at 0.5 would cost 40 false positives.
    frames = [([row()], [row(score=1 - i / 1000)]) for i in range(20)]
    strays = [row(x=5 + 5 * k, score=0.6) for k in range(8)]
    frames += [([row()], [row(score=0.5), *strays])] * 5
    labels = {str(i): objects(truth) for i, (truth, _) in enumerate(frames)}
    found = {str(i): objects(rows, scored=True) for i, (_, rows) in enumerate(frames)}
    best = operating_points(labels, found)["Car"]
    assert best is not None
    assert (best.score, best.true_positives, best.false_positives) == (0.981, 20, 0)
    assert (best.precision, best.recall) == (1, 20 / 25)
    assert best.f1 == pytest.approx(2 * 0.8 / 1.8)
    given = operating_points(labels, found, score={"Car": 0.5})
    assert given["Car"] is not None
    assert (given["Car"].true_positives, given["Car"].false_positives_per_frame) == (25, 40 / 25)
    assert operating_points(labels, found)["Pedestrian"] is None


def test_frames_must_agree() -> None:
    labels, found = objects([row()]), objects([row(score=1)], scored=True)
    with pytest.raises(DataError, match=r"frame 7: no detections"):
        evaluate_kitti({"7": labels}, {})
    with pytest.raises(DataError, match=r"frame 8: has detections but no labels"):
        evaluate_kitti({"7": labels}, {"7": found, "8": found})
    with pytest.raises(DataError, match=r"frame 7: detections lack scores"):
        evaluate_kitti({"7": labels}, {"7": labels})
    with pytest.raises(DataError, match="no frame"):
        evaluate_kitti({}, {})


LINE = "Car 0.00 0 0.00 300 150 400 200 1.5 1.6 4.0 0 1.6 20 0.00"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    labels, detections = tmp_path / "label_2", tmp_path / "found"
    labels.mkdir()
    detections.mkdir()
    for i in range(50):
        (labels / f"{i:06d}.txt").write_text(LINE + "\n")
    for i in range(45):
        (detections / f"{i:06d}.txt").write_text(f"{LINE} {1 - i / 100:.2f}\n")
    return labels, detections


def test_folders_evaluate_the_frames_that_have_a_detection_file(folders: tuple[Path, Path]) -> None:
    assert evaluate_folders(*folders)["Car"]["3d"]["R40"] == pytest.approx([100] * 3)
    assert len(load_folders(*folders)[0]) == 45


def test_frame_list(folders: tuple[Path, Path], tmp_path: Path) -> None:
    listed = tmp_path / "val.txt"
    listed.write_text("".join(f"{i:06d}\n" for i in range(50)))
    with pytest.raises(DataError, match=r"found/000045\.txt: no such file"):
        evaluate_folders(*folders, listed)
    listed.write_text("000000\n\n000001\n")
    assert list(load_folders(*folders, listed)[1]) == ["000000", "000001"]
    listed.write_text("000000\n000000\n")
    with pytest.raises(DataError, match="listed twice"):
        load_folders(*folders, listed)
    listed.write_text("\n")
    with pytest.raises(DataError, match="no frame"):
        load_folders(*folders, listed)


def test_files_of_own_classes(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for path in folder.iterdir():
            path.write_text(path.read_text().replace("Car", "Forklift"))
    with pytest.raises(DataError, match=r"000000\.txt:1: unknown class 'Forklift'; .*: --classes Forklift"):
        load_folders(*folders)
    labels, found = load_folders(*folders, classes=["Forklift"])
    assert evaluate_kitti(labels, found, {"Forklift": 0.5})["Forklift"]["3d"]["R40"] == pytest.approx([100] * 3)
    # A class of KITTI may lack in a few frames; a misspelt one is an error, and what is not asked for takes no part.
    assert len(load_folders(*folders, classes=["Cyclist"])[0]) == 45
    with pytest.raises(DataError, match=r"no object of class 'Forklfit'; the files have Forklift"):
        load_folders(*folders, classes=["Forklfit"])


def test_missing_folder_or_label_names_the_path(folders: tuple[Path, Path], tmp_path: Path) -> None:
    labels, detections = folders
    with pytest.raises(DataError, match="nowhere"):
        load_folders(labels, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"list\.txt: cannot be read"):
        load_folders(labels, detections, tmp_path / "list.txt")
    (labels / "000003.txt").unlink()
    with pytest.raises(DataError, match=r"label_2/000003\.txt"):
        load_folders(labels, detections)
