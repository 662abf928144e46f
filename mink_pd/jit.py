"""numba's compiler with a cache that may be absent, read-only, full or damaged: then it compiles again."""

import contextlib
from collections.abc import Callable
from typing import Any

import numba

from mink_pd.errors import DataError
from mink_pd.files import cache_folder


def njit(**options: Any) -> Callable[[Callable], Any]:
    """``numba.njit(cache=True, **options)`` that also works where no cache can be written.

    numba caches next to the source or in the user's cache folder. If neither can be written (a read-only installation
    and home, as in containers), the cache goes to :func:`mink_pd.files.cache_folder`, or nowhere.
    """

    def decorate(function: Callable) -> Any:
        dispatcher: Any = numba.njit(**options)(function)
        try:
            dispatcher.enable_caching()
        except RuntimeError:  # no cache folder can be written
            try:
                setattr(numba.config, "CACHE_DIR", str(cache_folder() / "numba"))  # noqa: B010  # typed as a bare module
                dispatcher.enable_caching()
            except (DataError, RuntimeError):
                return dispatcher
        _forgive(dispatcher._cache)
        return dispatcher

    return decorate


def _forgive(cache: Any) -> None:
    """A cache file that cannot be read or written counts as absent."""
    save, load = cache.save_overload, cache.load_overload

    def save_overload(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            save(*arguments)

    def load_overload(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception:  # unpickling a damaged file may raise anything; the function is compiled again
            with contextlib.suppress(OSError):
                cache.flush()  # replaces the damaged index by an empty one
            return None

    cache.save_overload, cache.load_overload = save_overload, load_overload
