"""Warnings about problems in the data that will harm a training."""

import numpy as np

from mink_pd.config.points import NONE
from mink_pd.data.clouds.survey import suspicions
from mink_pd.new_config.plan import Plan

_FEW_OBJECTS = 50  # fewer objects of a class give a warning
_FEW_POSITIVES = 0.6  # so does a smaller share of a class's objects with a positive anchor
_MANY_OUTSIDE = 0.02  # and a larger share of a class's objects outside the range


def warnings_of(plan: Plan) -> list[str]:
    """A sentence or two for each problem."""
    looks = suspicions(plan.found, plan.data.intensity != NONE)
    return [*plan.overlap, *_missing(plan), *_few(plan), *_outside(plan), *looks, *_without_positive(plan)]


def _missing(plan: Plan) -> list[str]:
    """Classes without an object, for training or for validation."""
    absent = [name for name in plan.data.classes if name not in plan.anchors]
    unseen = [name for name in plan.classes if not plan.in_val[name]]
    lines = []
    if absent:
        lines.append(f"{', '.join(absent)}: no object in split '{plan.data.train_split}', so left out.")
    if unseen:
        lines.append(f"{', '.join(unseen)}: no object in split '{plan.data.val_split}', so not evaluated.")
    return lines


def _few(plan: Plan) -> list[str]:
    few = [f"{name} ({plan.objects[name]})" for name in plan.classes if plan.objects[name] < _FEW_OBJECTS]
    advice = f"fewer than {_FEW_OBJECTS} objects to learn from; label more, or merge the class with a similar one."
    return [f"{', '.join(few)}: {advice}"] if few else []


def _outside(plan: Plan) -> list[str]:
    parts = []
    for name in plan.classes:
        own = plan.found.of(name)
        outside = own & ~plan.extent.inside
        if outside.sum() > _MANY_OUTSIDE * own.sum():
            furthest = np.linalg.norm(plan.found.boxes[outside, :2], axis=1).max()
            parts.append(f"{name} ({outside.sum()} of {own.sum()}, up to {furthest:.0f} m away)")
    return [f"{', '.join(parts)}: objects out of range, neither trained on nor evaluated."] if parts else []


def _without_positive(plan: Plan) -> list[str]:
    shares = {name: one.positives for name, one in plan.anchors.items() if plan.learnt(name).any()}
    few = [f"{name} ({share:.0%})" for name, share in shares.items() if share < _FEW_POSITIVES]
    advice = "few objects get a positive anchor by IoU; smaller voxels (a larger budget) would give more of them one."
    return [f"{', '.join(few)}: {advice}"] if few else []
