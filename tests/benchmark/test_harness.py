"""Statistics and order of the measurements, on callables and clocks that are made up."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks.harness import Pair, Side, compare, measure, measure_memory, relative_spread
from benchmarks.peak_memory import peak_growth
from benchmarks.thread_counts import CORES, Threads, best_of, current


def clock(*durations: float) -> Iterator[float]:
    """Times of a clock that is read before and after each run [s]."""
    now = 0.0
    for duration in durations:
        yield now
        now += duration
        yield now


def test_medians_ratio_and_spread() -> None:
    timing = compare([2.0, 1.0, 3.0], [8.0, 4.0, 12.0])
    assert (timing.ours_ms, timing.peer_ms, timing.ratio) == (2.0, 8.0, 4.0)
    assert timing.spread == 0.0, "both sides slow down together: the ratio does not move"
    assert timing.runs == (3, 3)


def test_spread_is_the_quartiles_distance() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    low, middle, high = np.percentile(values, [25, 50, 75])
    assert relative_spread(values) == pytest.approx((high - low) / middle)
    assert relative_spread([5.0]) == 0.0


def test_a_peer_that_runs_once_and_a_fixed_one() -> None:
    assert compare([1.0, 2.0, 4.0], [20.0]).ratio == 10.0
    assert compare([1.0, 2.0, 4.0], [20.0]).spread == pytest.approx(15 / 2 / 10)
    timing = measure(Pair(Side(lambda: None), 100.0), 3, warm_up=0, clock=clock(0.05, 0.05, 0.05).__next__)
    assert timing.ratio == pytest.approx(2.0)


def test_turns_alternate_after_check_and_warm_up() -> None:
    seen: list[str] = []
    pair = Pair(
        Side(lambda: seen.append("ours")), Side(lambda: seen.append("peer")), check=lambda: seen.append("check")
    )
    timing = measure(pair, repeats=2, warm_up=1, clock=clock(9, 9, 1, 3, 2, 6).__next__)
    assert seen == ["check", "ours", "peer", "ours", "peer", "ours", "peer"]
    assert (timing.ours_ms, timing.peer_ms, timing.ratio) == (1500.0, 4500.0, 3.0), "warm-up is not counted"


def test_a_run_of_several_calls_has_their_mean() -> None:
    seen: list[str] = []
    pair = Pair(Side(lambda: seen.append("ours"), calls=4), Side(lambda: seen.append("peer"), calls=2))
    timing = measure(pair, repeats=1, warm_up=0, clock=clock(8, 6).__next__)
    assert seen == 4 * ["ours"] + 2 * ["peer"]
    assert (timing.ours_ms, timing.peer_ms) == (2000.0, 3000.0)


def test_a_slow_peer_is_not_warmed_up() -> None:
    seen: list[str] = []
    pair = Pair(Side(lambda: seen.append("ours")), Side(lambda: seen.append("peer"), runs=1))
    assert measure(pair, repeats=3, warm_up=1).runs == (3, 1)
    assert seen.count("peer") == 1


def test_without_a_peer_ours_is_timed() -> None:
    timing = measure(Pair(Side(lambda: None), None), 3, warm_up=0, clock=clock(0.1, 0.1, 0.1).__next__)
    assert timing.ours_ms == pytest.approx(100)
    assert timing.peer_ms is timing.ratio is None


def test_different_work_is_not_timed() -> None:
    seen: list[str] = []

    def differ() -> None:
        raise AssertionError("outputs differ")

    with pytest.raises(AssertionError, match="outputs differ"):
        measure(Pair(Side(lambda: seen.append("ours")), None, check=differ), 3)
    assert not seen


def test_peak_memory_counts_what_is_freed_again() -> None:
    def work() -> int:
        return len(np.ones(50 * 2**20 // 8))

    assert 45 < peak_growth(work) < 80
    pair = Pair(Side(work), Side(lambda: len(np.ones(200 * 2**20 // 8))), memory=0.5)
    memory = measure_memory(pair)
    assert memory is not None
    assert memory.share == pytest.approx(0.25, abs=0.1)
    assert measure_memory(Pair(Side(work), Side(work))) is None


def test_threads_are_set_and_put_back() -> None:
    before = current()
    assert before.openblas is not None, "MinkowskiEngine's OpenBLAS is not found"
    with Threads(openmp=1, openblas=CORES).applied():
        assert current() == Threads(1, CORES)
        assert torch.get_num_threads() == 1
    assert current() == before


def test_best_threads_are_those_of_the_shortest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = [Threads(openmp=1), Threads(openmp=CORES)]
    cost = {1: 2.0, CORES: 1.0} if CORES > 1 else {1: 1.0}
    monkeypatch.setattr("benchmarks.thread_counts.milliseconds", lambda work, repeats: cost[torch.get_num_threads()])
    assert best_of(lambda: None, choices).openmp == CORES
