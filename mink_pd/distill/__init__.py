"""Knowledge distillation: methods that know nothing of detectors, and the distiller that pairs taps for them."""

from mink_pd.distill.distiller import METHODS, Distiller

__all__ = ["METHODS", "Distiller"]
