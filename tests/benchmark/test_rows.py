"""Every row at a tiny size; the JSON; what happens where a peer is missing or a row fails."""

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import results_table, schedule
from benchmarks.harness import Memory, Pair, Side, Timing
from benchmarks.inputs import TINY, Inputs, resized
from benchmarks.profile import Stopwatch, profile
from benchmarks.rows.all_rows import ROWS, choose
from benchmarks.rows.row import Result, Row, run
from benchmarks.scaling import Curve, arithmetic, curves, draw
from benchmarks.schedule import Schedule, schedules, table
from mink_pd.config import Config
from mink_pd.errors import ConfigError, DataError
from mink_pd.sparse import multiplies_bf16

KEYS = {"name", "ours_ms", "peer", "peer_ms", "ratio", "spread", "target"}
FACTS = {
    "processor": "a", "vector_units": "AVX2", "cores": 2, "load_at_start": 0.1,
    "threads": {"torch": 2, "OpenMP": 2, "OpenBLAS": 1},
    "sgemm_gflops": {"1": 50.0}, "versions": {"torch": "2.13.0", "spconv": None}, "commit": "0123456789abcdef",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    config = Config()
    config.data.range = (0.0, -12.8, -3.0, 25.6, 12.8, 1.0)
    small = {"pillar_channels": 16, "channels": [16, 16, 32], "layers": [1, 1, 1], "neck_channels": 16}
    config.model = config.model.model_copy(update=small)
    return Inputs(sizes=TINY, config=config)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_both_sides_of_every_row_do_the_same_work(row: Row, inputs: Inputs) -> None:
    """The rows' own checks run before the time is taken, and fail the row."""
    result = run(row, inputs, repeats=1)
    assert result.error is None
    content = result.to_json()
    assert content.keys() >= KEYS
    assert content["ours_ms"] is None or content["ours_ms"] > 0
    if content["peer_ms"] is None:
        assert content["ratio"] is None
        assert content["notes"], "a row without a peer says why"
        pytest.skip("; ".join(content["notes"]))
    assert content["ratio"] == pytest.approx(content["peer_ms"] / content["ours_ms"])


def test_a_missing_peer_is_said_and_ours_is_timed(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def without_spconv(name: str) -> object:
        if name.startswith("spconv"):
            raise ModuleNotFoundError(name)
        return original(name)

    monkeypatch.setattr("benchmarks.rows.row.import_module", without_spconv)
    (row,) = choose(["voxelise"])
    result = run(row, inputs, repeats=1)
    assert "make bench-deps installs spconv" in result.notes
    content = result.to_json()
    assert content["ours_ms"] > 0
    assert content["ratio"] is None and content["met"] is None  # noqa: PT018
    assert "error" not in content


def test_a_row_that_fails_is_contained(inputs: Inputs) -> None:
    def build(inputs: Inputs) -> Pair:
        raise RuntimeError("out of order\nand more")

    content = run(Row("broken", "a", "b", 2.0, build), inputs, repeats=1).to_json()
    assert content["error"] == "RuntimeError: out of order"
    assert content["ratio"] is None and content["met"] is None  # noqa: PT018
    assert results_table.cells(content)[-1] == "error"
    json.dumps(content, allow_nan=False)


def test_a_target_is_met_by_time_and_memory() -> None:
    row = Row("a", "what", "peer", 4.0, lambda inputs: Pair(Side(int), None))
    fast = Timing(1.0, 5.0, 5.0, 0.1, (7, 7))
    assert Result(row, fast).met is True
    assert Result(row, Timing(1.0, 3.9, 3.9, 0.1, (7, 7))).met is False
    assert Result(row, fast, Memory(10, 100, 0.1, 0.25)).met is True
    assert Result(row, fast, Memory(30, 100, 0.3, 0.25)).met is False
    assert Result(Row("a", "what", "peer", None, row.build), fast).met is None


def test_names_are_unique_and_an_unknown_one_is_named() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert [row.name for row in choose(["nms", "knn"])] == ["knn", "nms"]
    with pytest.raises(ConfigError, match="no row 'kmn'"):
        choose(["knn", "kmn"])


def test_json_comes_back_as_markdown(tmp_path: Path) -> None:
    row = Row("nms", "rotated NMS", "a loop", 100.0, lambda inputs: Pair(Side(int), None))
    result = Result(row, Timing(1.234, 20_000.0, 16207.0, 0.05, (7, 1)), threads=("OpenMP 2", "OpenMP 2"), notes=("n",))
    results_table.write(tmp_path / "a.json", {"machine": FACTS, "rows": [result.to_json()]})
    text = results_table.markdown(results_table.read(tmp_path / "a.json"))
    assert "| `nms`: rotated NMS | a loop | 1.23 ms | 20.0 s | 16207.00 | 5 % | 100 | met |" in text
    assert "spconv missing" in text
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(DataError, match=r"b\.json"):
        results_table.read(tmp_path / "b.json")
    with pytest.raises(DataError, match=r"none\.json"):
        results_table.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "-"), (0.1234, "0.12 ms"), (12.345, "12.3 ms"), (1234.5, "1234 ms"), (12_345.0, "12.3 s")],
)
def test_durations(milliseconds: float | None, text: str) -> None:
    assert results_table.duration(milliseconds) == text


def test_sweeps_have_the_points_that_are_asked_for(inputs: Inputs) -> None:
    assert len(inputs.sweep) == TINY.sweep
    for count in (10, TINY.sweep, 5000):
        assert len(resized(inputs.sweep, count)) == count


@pytest.mark.parametrize("kind", ["train", "detect", "distil"])
def test_stages_add_up_to_the_whole(kind: str, inputs: Inputs) -> None:
    stages = profile(kind, inputs, repeats=1, warm_up=1)  # type: ignore[arg-type]
    who = "student: " if kind == "distil" else ""
    assert {"shared input", f"{who}encoder", f"{who}head"} <= stages.keys()
    assert all(value >= 0 for value in stages.values())
    assert ("backward" in stages) == (kind != "detect")
    assert ("NMS" in stages) == (kind == "detect")


def test_a_stage_within_another_counts_once() -> None:
    times = iter([0.0, 1.0, 4.0, 10.0])
    watch = Stopwatch(times.__next__)
    with watch.stage("outer"), watch.stage("inner"):
        pass
    assert watch.seconds == {"inner": 3.0, "outer": 7.0}


def test_timed_functions_are_put_back() -> None:
    row = Timing()
    watch = Stopwatch()
    with watch.around(results_table, "duration", "d"), watch.around(row, "__repr__", "r"):
        results_table.duration(1.0)
    assert watch.seconds.keys() == {"d"}
    assert "__repr__" not in vars(row)
    assert results_table.duration.__name__ == "duration"


def test_curves_shares_and_picture(inputs: Inputs, tmp_path: Path) -> None:
    found = curves(inputs, repeats=1, points=(500, 1000), batches=(1, 2))
    assert {(curve.axis, curve.work) for curve in found} == {
        (axis, work) for axis in ("points", "batch", "threads") for work in ("train", "detect")
    }
    assert all(len(curve.x) == len(curve.ms) == len(curve.mb) for curve in found)
    for row in arithmetic(inputs, repeats=1):
        assert row["share"] > 0  # how large is the machine's affair
    draw(found, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_slope_is_one_where_time_is_linear() -> None:
    curve = Curve("points", "train", [10, 20, 80], [3.0, 6.0, 6.0], [1, 1, 1])
    assert curve.slopes() == [None, pytest.approx(1.0), pytest.approx(0.0)]


def test_hours_are_the_mean_step_times_the_steps_of_the_schedule() -> None:
    one = Schedule("one", steps=1000, wall=[1800.0, 5400.0], processor=[3600.0])
    assert one.hours(one.wall, plain=[1.0]) == 1.0
    assert one.hours(one.processor, plain=[1.0]) == 1.0
    half = Schedule("half", steps=1000, share=0.5, wall=[5400.0])
    assert half.hours(half.wall, plain=[900.0, 2700.0]) == 1.0


def test_each_training_of_a_schedule_takes_its_turn(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "BATCHES", 1)
    advanced: list[None] = []
    found = schedules(inputs, 2, lambda: advanced.append(None))
    names = ["teacher", "4x student", "4x student, distilled", "4x student, distilled, teacher in bf16"]
    assert [one.name for one in found] == names[: 4 if multiplies_bf16() else 3]
    assert all(len(one.wall) == len(one.processor) == 2 for one in found)
    assert {one.steps for one in found} == {3712 * 80 // TINY.batch}
    assert [one.share for one in found[:3]] == [1.0, 1.0, Config().distill.until]
    assert len(advanced) == 2 + schedule.WARM_UP
    shown = table(found, "title")
    assert shown.row_count == len(found)
    assert list(shown.columns[3].cells)[1] == "1.00"
