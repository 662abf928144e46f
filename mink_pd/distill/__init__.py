"""Knowledge distillation: methods, which know nothing of detectors, and the distiller, which pairs taps for them."""

from mink_pd.distill.distiller import Distiller

__all__ = ["Distiller"]
