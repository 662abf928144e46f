"""Pausing Python's garbage collector."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from mink_pd.memory import without_collection


class Loop:
    """Garbage that only the collector finds, once nobody else refers to it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    with without_collection(), without_collection():
        assert not gc.isenabled()
    assert gc.isenabled() == enabled
    with pytest.raises(KeyError), without_collection():
        raise KeyError
    assert gc.isenabled() == enabled


def test_garbage_that_was_made_meanwhile_is_collected_later() -> None:
    with without_collection():
        made = weakref.ref(Loop())
    assert made() is not None
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert made() is None


def test_what_the_user_froze_stays_frozen() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    with without_collection():
        Loop()
    assert gc.get_freeze_count() >= before > 0
