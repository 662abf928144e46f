"""Which frame to look at."""

from mink_pd.data import Dataset
from mink_pd.data.epochs import keep_boxes
from mink_pd.data.frame import Frame
from mink_pd.errors import DataError

_LOOKED_AT = 20  # frames
_OBJECTS = 8  # more make the picture too full, fewer too empty


def choose_frame(dataset: Dataset, bounds: tuple[float, ...], id: str | None) -> Frame:
    """The frame called ``id``, or a readable one: that of the first twenty with closest to eight objects within bounds.

    bounds: what the detector sees, x, y, z from, x, y, z to [m]. Raises DataError for an id that the data set has not.
    """
    if id is None:
        frames = (dataset[index] for index in range(min(_LOOKED_AT, len(dataset))))
        return min(frames, key=lambda frame: abs(len(keep_boxes(frame, bounds).boxes) - _OBJECTS))
    if id not in dataset.ids:
        raise DataError(
            f"{dataset.root}: no frame '{id}' among {len(dataset)}, {dataset.ids[0]} to {dataset.ids[-1]}; "
            "choose one of them, or another --split"
        )
    return dataset[dataset.ids.index(id)]
