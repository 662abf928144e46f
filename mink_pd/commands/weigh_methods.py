"""How strongly each distillation method pulls on the student, and the weight that would make them pull alike."""

import argparse
from itertools import islice

import torch
from rich.table import Table

from mink_pd.cli import console
from mink_pd.config import load_config
from mink_pd.data import open_training
from mink_pd.data.loading.epochs import make_loader
from mink_pd.detect.device import set_threads
from mink_pd.distill import Distiller
from mink_pd.distill.weigh import gradient_share
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import checkpoint_file, load_detector
from mink_pd.registry import METHODS


def main(options: argparse.Namespace) -> None:
    """One row a method, each with an untrained student of the same weights on the same batches."""
    teacher, _ = load_detector(checkpoint_file(options.teacher, options.which))
    table = Table("method", "weight", "loss", "gradient share", f"weight for {options.share:g}")
    for name in options.methods or METHODS:
        config = load_config(options.config, [*options.overrides, f"distill.methods=[{name}]"])
        set_threads(config.train)
        torch.manual_seed(config.seed)
        distiller = Distiller(build_detector(config), teacher, config).train()
        loader = make_loader(
            open_training(config.data),
            config.data,
            batch_size=config.train.batch_size,
            training=True,
            seed=config.seed,
            teacher=distiller.teacher_data,
        )
        share, loss = gradient_share(distiller, islice(loader.epoch(0), options.batches))
        weight = getattr(config.distill, name).weight
        wanted = f"{weight * options.share / share:.3g}" if share else "-"
        table.add_row(name, f"{weight:g}", f"{loss:.4g}", f"{share:.3g}", wanted)
    console.print(table)
