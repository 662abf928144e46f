"""What the commands share that show one frame of a run's data set in a window or as a picture."""

import argparse

from mink_pd.config import DataConfig
from mink_pd.data import Dataset, open_dataset
from mink_pd.data.frame import Frame
from mink_pd.files import check_writable, check_writable_folder
from mink_pd.render import check_display, choose_frame


def check_output(options: argparse.Namespace) -> None:
    """Raise an error before any work if there is no display or, with ``--save``, the picture cannot be written."""
    if options.save is None:
        check_display()
        return
    check_writable_folder(options.save.absolute().parent)
    check_writable(options.save)


def open_frame(options: argparse.Namespace, settings: DataConfig) -> tuple[Dataset, Frame]:
    """The data set with the root of ``--data``, and the frame of ``--split`` and ``--frame``."""
    data = settings.model_copy(update={"root": options.data or settings.root})
    dataset = open_dataset(data, options.split or ("all" if options.frame else data.val_split))
    return dataset, choose_frame(dataset, data.range, options.frame)
