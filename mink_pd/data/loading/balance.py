"""Class-balanced sampling of frames (CBGS: Zhu et al. 2019, "Class-balanced Grouping and Sampling for Point Cloud 3D
Object Detection", section 3.1)."""

from collections.abc import Sequence

import numpy as np

from mink_pd.errors import DataError


class Balance:
    """Draws the frames of an epoch so that each of C classes gets the same number of frames.

    A frame counts once for every class in it. With T such pairs, each class gets T / C frames that contain it, rounded
    down: all of its frames an equal number of times, and the remainder at random. A frame without any class is not
    drawn, and a class in no frame gets none. ``len`` is the number of frames per epoch.

    names: the class names of each frame's objects.
    Raises DataError if no frame contains any class.
    """

    def __init__(self, names: Sequence[np.ndarray], classes: Sequence[str]) -> None:
        holding = [np.flatnonzero([name in frame for frame in names]) for name in classes]
        self._frames = [frames for frames in holding if len(frames)]
        if not self._frames:
            raise DataError(f"data.class_balanced: no training frame contains any of {', '.join(classes)}")
        self._share = sum(map(len, self._frames)) // len(self._frames)

    def __len__(self) -> int:
        return self._share * len(self._frames)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Frames int64 of one epoch, ordered by class."""
        chosen = []
        for frames in self._frames:
            whole, rest = divmod(self._share, len(frames))
            chosen += [np.tile(frames, whole), rng.choice(frames, rest, replace=False)]
        return np.concatenate(chosen)


def occurrences(indices: np.ndarray) -> np.ndarray:
    """Number int64 (N,) of earlier occurrences of each entry (N,) in the list."""
    order = np.argsort(indices, kind="stable")
    ranked = indices[order]
    first = np.searchsorted(ranked, ranked)  # first position of equal values
    result = np.empty(len(indices), np.int64)
    result[order] = np.arange(len(indices)) - first
    return result
