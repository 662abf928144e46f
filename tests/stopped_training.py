"""A training that is interrupted, for tests of ``--resume``."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mink_pd.train.loop import Trainer


@contextmanager
def stopped_after(epoch: int) -> Iterator[None]:
    """Within it the training must run, and ends as by Ctrl-C when the checkpoint of ``epoch`` is written."""
    save = Trainer.save

    def stopping(trainer: Trainer) -> None:
        save(trainer)
        if trainer.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            yield
