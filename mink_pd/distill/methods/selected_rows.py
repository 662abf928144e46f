"""Rows of a tap, frame by frame: a formula over the sites of one image must not mix frames."""

from collections.abc import Callable

import torch
from torch import Tensor

from mink_pd.config.methods import RowsConfig
from mink_pd.distill.importance import select
from mink_pd.distill.pairs import TapPair
from mink_pd.processes import shared_count


def all_rows(pair: TapPair) -> list[Tensor]:
    """Every row of each frame (int64), in order."""
    frame = pair.teacher.frame
    return [torch.nonzero(frame == index)[:, 0] for index in range(len(pair.batch))]


def important_rows(pair: TapPair, settings: RowsConfig) -> list[Tensor]:
    """The ``settings.rows`` most important rows of each frame, most important first."""
    score = pair.importance(settings.importance)  # (M,)
    return select(score, pair.teacher.frame, len(pair.batch), settings.rows)


def frame_mean(rows: list[Tensor], loss: Callable[[Tensor], Tensor], least: int = 1) -> Tensor:
    """Mean of ``loss(rows)``, a scalar, over the frames that have at least ``least`` rows; 0 if none has.

    With several processes the frames of all of them count (:func:`shared_count`).
    """
    found = [loss(here) for here in rows if len(here) >= least]
    frames = shared_count(len(found))
    return torch.stack(found).sum() / frames if found else torch.zeros((), device=rows[0].device)
