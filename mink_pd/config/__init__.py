"""Typed configuration: one file per section, and the loader."""

from mink_pd.config.data import DataConfig
from mink_pd.config.evaluate import EvaluateConfig
from mink_pd.config.loader import assignment, dump_config, flat, load_config, override, validate
from mink_pd.config.methods import DistillConfig
from mink_pd.config.root import Config
from mink_pd.config.section import Section
from mink_pd.config.train import TrainConfig

__all__ = [
    "Config",
    "DataConfig",
    "DistillConfig",
    "EvaluateConfig",
    "Section",
    "TrainConfig",
    "assignment",
    "dump_config",
    "flat",
    "load_config",
    "override",
    "validate",
]
