"""Knowledge distillation: methods that know nothing of detectors, and the distiller that pairs taps for them."""

from mink_pd.distill.distiller import Distiller

__all__ = ["Distiller"]
