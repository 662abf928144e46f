"""What is asked of the frames of a split: whether they have labels, and whether they are frames of another split."""

from mink_pd.data.dataset import Dataset
from mink_pd.errors import DataError

_NAMED = 5  # number of frames that a message names


def named(ids: list[str]) -> str:
    """The first of some IDs, for a message."""
    return ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")


def lacks_labels(dataset: Dataset) -> str:
    """One line on the frames without labels, and what to do; empty if all have labels."""
    bare = dataset.unlabelled()
    if not bare:
        return ""
    return (
        f"{len(bare)} of {len(dataset)} frames of {dataset.root} have no labels ({named(bare)}); label them, or choose"
        " a split without them (of a folder of clouds: labelled)"
    )


def check_labelled(dataset: Dataset, key: str) -> Dataset:
    """The data set. Raises DataError if frames that the setting ``key`` names have no labels."""
    if text := lacks_labels(dataset):
        raise DataError(f"'{key}': {text}")
    return dataset


def common_frames(one: Dataset, other: Dataset) -> list[str]:
    """IDs of the frames of ``one`` that are frames of ``other`` as well."""
    others = set(other.keys())
    return [id for key, id in zip(one.keys(), one.ids, strict=True) if key in others]


def overlap(labelled: Dataset, judged: Dataset) -> list[str]:
    """A line for the user if validation frames ``judged`` are among the training frames ``labelled``, else none.

    No error: a last training before the use of a detector may take all labelled frames.
    """
    both = common_frames(judged, labelled)
    text = f"{len(both)} of {len(judged)} validation frames are training frames ({named(both)})"
    return [f"{text}, so the figures do not hold for new frames"] if both else []
