"""Distillation methods, one file each: the method, its settings and its registration."""

from mink_pd.distill.methods.base import Method

__all__ = ["Method"]
