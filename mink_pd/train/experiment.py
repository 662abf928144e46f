"""One training from configuration to run folder: what tools/train.py and tools/distill.py call."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only

from mink_pd.config import Config, TrainConfig
from mink_pd.data import open_dataset
from mink_pd.data.loader import make_loader
from mink_pd.distill import Distiller
from mink_pd.errors import ConfigError
from mink_pd.models import Detector, build_detector
from mink_pd.train.environment import describe, keep_memory, set_threads
from mink_pd.train.loop import Trainer
from mink_pd.train.objective import DetectionObjective, Objective
from mink_pd.train.report import Reporter
from mink_pd.train.runs import RunFolder, identify, load_detector
from mink_pd.train.validate import Validation, check_metric, validate


def train(
    config: Config,
    make_objective: Callable[[Config], Objective],
    resume: bool = False,
    force: bool = False,
    files: dict[str, Path] | None = None,
) -> RunFolder:
    """Train what ``make_objective`` builds (its weights follow ``config.seed``) and fill the run folder.

    resume: continue the run if it has been started. force: replace it. files: others that the result depends
    on, such as the teacher's checkpoint; the run folder records them, and a resumed run needs the same ones.
    Raises ConfigError, before anything is written, if the folder is taken or the settings do not fit.
    """
    run = RunFolder.of(config)
    identified = identify(files or {})
    first = getattr(rank_zero_only, "rank", 0) == 0  # known from torchrun's environment before the launch
    if first:
        run.check(config, identified, resume, force)
    check_metric(config.train.best_metric)
    state = run.read_state() if resume else None
    if state is not None and state["epoch"] >= config.train.epochs:
        text = f"{run}: all {state['epoch']} epochs are done; nothing to resume"
        Reporter(run, config.train.epochs, first).say(text)
        return run
    datasets = [open_dataset(config.data, split) for split in (config.data.train_split, config.data.val_split)]
    fabric = launch(config.train)
    fabric.seed_everything(config.seed, verbose=False)
    objective = make_objective(config)
    share = {"rank": fabric.global_rank, "world": fabric.world_size, "seed": config.seed}
    size = config.train.batch_size
    loader = make_loader(datasets[0], config.data, batch_size=size, training=True, **share)
    validation = make_loader(datasets[1], config.data, batch_size=size, training=False, **share)

    def evaluate(detector: Detector) -> Validation:
        return validate(detector, validation.epoch(0), fabric)

    if fabric.is_global_zero:
        run.prepare(config, identified, describe(fabric.device), fresh=state is None)
    with Reporter(run, config.train.epochs, fabric.is_global_zero) as reporter:
        trainer = Trainer(objective, loader, evaluate, config, run, fabric, reporter)
        if state is not None:
            trainer.restore(state)
            reporter.say(f"{run}: continues after epoch {trainer.epoch}")
        try:
            trainer.fit()
        except KeyboardInterrupt:
            reporter.say(f"{run}: stopped after epoch {trainer.epoch}; --resume continues it")
            raise
        reporter.say(f"{run}: done")
    return run


def train_detector(config: Config, resume: bool = False, force: bool = False) -> RunFolder:
    """Train the configured detector alone."""
    return train(config, lambda c: DetectionObjective(build_detector(c)), resume, force)


def distil(config: Config, teacher: Path, resume: bool = False, force: bool = False) -> RunFolder:
    """Train the configured student with the teacher of a ``.safetensors`` file beside it."""
    network, _ = load_detector(teacher)
    files = {"teacher": teacher}
    return train(config, lambda c: Distiller(build_detector(c), network, c), resume, force, files)


def launch(config: TrainConfig) -> Fabric:
    """Device, precision and processes, by Lightning Fabric; its own messages are kept quiet.

    Raises ConfigError if this machine has not what the configuration asks for.
    """
    set_threads(config)
    keep_memory()
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning_fabric")
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            precision=config.precision,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"'train.accelerator', 'train.devices' or 'train.precision' do not fit: {reason}") from None
    fabric.launch()
    return fabric
