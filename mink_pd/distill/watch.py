"""What every method logs: where it looks, how it weighs, and whether its adapters have collapsed."""

import torch
from torch import Tensor

from mink_pd.distill.importance import inside_share
from mink_pd.distill.pairs import TapPair


def watch(
    pair: TapPair,
    *,
    selected: list[Tensor] | None = None,
    phi: Tensor | None = None,
    teacher: Tensor | None = None,
    student: Tensor | None = None,
) -> dict[str, Tensor]:
    """Logs of one tap; a method leaves out what it lacks.

    selected: rows of each frame -> ``inside``, their share within labelled boxes, mean over the frames; phi: weights,
    1 on average -> ``largest_phi``; teacher, student: what is compared, after the adapters -> ``teacher_rms`` and
    ``student_rms``, root mean squares (two adapters that shrink together transfer nothing).
    """
    logs: dict[str, Tensor] = {}
    if selected is not None:
        centres = pair.teacher.centres
        logs["inside"] = torch.stack(
            [inside_share(centres[rows], boxes) for rows, boxes in zip(selected, pair.batch.boxes, strict=True)]
        ).mean()
    if phi is not None and len(phi):
        logs["largest_phi"] = phi.detach().max()
    for name, values in (("teacher_rms", teacher), ("student_rms", student)):
        if values is not None and values.numel():
            logs[name] = values.detach().square().mean().sqrt()
    return logs
