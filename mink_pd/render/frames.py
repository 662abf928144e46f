"""The choice of a frame to show."""

from mink_pd.data import Dataset
from mink_pd.data.frame import Frame
from mink_pd.data.loading.epochs import keep_boxes
from mink_pd.errors import DataError

_CANDIDATES = 20  # the first frames of the data set
_OBJECTS = 8  # a picture with more objects is crowded, one with fewer shows little


def choose_frame(dataset: Dataset, bounds: tuple[float, ...], id: str | None) -> Frame:
    """The frame ``id``; without one, the frame among the first twenty with closest to eight objects within bounds.

    bounds: the detector's range: lower x, y, z, upper x, y, z [m].
    Raises DataError if the data set lacks the frame.
    """
    if id is None:
        frames = (dataset[index] for index in range(min(_CANDIDATES, len(dataset))))
        return min(frames, key=lambda frame: abs(len(keep_boxes(frame, bounds).boxes) - _OBJECTS))
    if id not in dataset.ids:
        raise DataError(
            f"{dataset.root}: no frame '{id}' among {len(dataset)}, {dataset.ids[0]} to {dataset.ids[-1]}; "
            "choose one of them, or another --split"
        )
    return dataset[dataset.ids.index(id)]
