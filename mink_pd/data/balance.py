"""Class-balanced sampling of frames (CBGS: Zhu et al. 2019, "Class-balanced Grouping and Sampling for Point Cloud 3D
Object Detection", section 3.1)."""

from collections.abc import Sequence

import numpy as np

from mink_pd.errors import DataError


class Balance:
    """Which frames make an epoch so that each of C classes gets as many as any other.

    A frame counts once for every class in it; with T such pairs, each class gets T / C of the frames that hold it,
    rounded down: all of them as often as they go in, the rest at random. A frame without any class is left out, and a
    class in no frame gets none. ``len`` is the number of frames an epoch.

    names: the class names of each frame's objects. Raises DataError when no frame holds any class.
    """

    def __init__(self, names: Sequence[np.ndarray], classes: Sequence[str]) -> None:
        holding = [np.flatnonzero([name in frame for frame in names]) for name in classes]
        self._frames = [frames for frames in holding if len(frames)]
        if not self._frames:
            raise DataError(f"data.class_balanced: no training frame holds any of {', '.join(classes)}")
        self._share = sum(map(len, self._frames)) // len(self._frames)

    def __len__(self) -> int:
        return self._share * len(self._frames)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Frames of an epoch, int64, class by class."""
        chosen = []
        for frames in self._frames:
            whole, rest = divmod(self._share, len(frames))
            chosen += [np.tile(frames, whole), rng.choice(frames, rest, replace=False)]
        return np.concatenate(chosen)


def occurrences(indices: np.ndarray) -> np.ndarray:
    """How often each entry (N,) has come before in the list: 0 for the first time, int64 (N,)."""
    order = np.argsort(indices, kind="stable")
    ranked = indices[order]
    first = np.searchsorted(ranked, ranked)  # where the run of equal ones begins
    result = np.empty(len(indices), np.int64)
    result[order] = np.arange(len(indices)) - first
    return result
