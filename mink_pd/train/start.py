"""Runs one training from configuration to run folder; called by mink-pd train and mink-pd distill."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from lightning_fabric.utilities.rank_zero import rank_zero_only

from mink_pd.config import Config
from mink_pd.data import open_dataset
from mink_pd.data.epochs import make_loader
from mink_pd.detect.device import launch
from mink_pd.distill import Distiller
from mink_pd.distill.distiller import check_geometry, check_ignores
from mink_pd.errors import CheckpointError, ConfigError, DataError, MinkPDError
from mink_pd.evaluate.scorers import check_metric, make_scorer
from mink_pd.files import reading
from mink_pd.models import Detector, build_detector
from mink_pd.models.checkpoint import checkpoint_file, load_detector, read_config
from mink_pd.models.initial import take_weights
from mink_pd.processes import is_lost_process
from mink_pd.train.environment import describe
from mink_pd.train.loop import Trainer
from mink_pd.train.objective import DetectionObjective, Objective
from mink_pd.train.reporter import Reporter
from mink_pd.train.run_folder import RunFolder, identify
from mink_pd.train.unlabelled import identify_frames, open_unlabelled
from mink_pd.train.validate import Validation, lay_out, validate


def train(
    config: Config,
    make_objective: Callable[[Config], Objective],
    resume: bool = False,
    force: bool = False,
    files: dict[str, Path] | None = None,
    with_unlabelled: bool = False,
) -> RunFolder:
    """Train what ``make_objective`` builds (its weights follow ``config.seed``) and fill the run folder.

    resume: continue the run if it exists. force: replace it. files: other files that the result depends on, such as
    the teacher's checkpoint. The run folder records them; a resumed run needs the same files and frames.
    with_unlabelled: mix in the frames of ``distill.unlabelled``, if it names any.
    Raises ConfigError before anything is written if the folder is taken, if the training reads from the folder, or if
    the settings do not fit together.
    """
    run = RunFolder.of(config)
    initial = _initial_weights(config)
    files = {**(files or {}), **({} if initial is None else {"initial": initial})}
    identified = identify(files)
    first = getattr(rank_zero_only, "rank", 0) == 0  # from torchrun's environment, before the launch
    if first:
        run.check(config, identified, resume, force)
    done = run.epochs_done() if resume else 0
    if first:
        with suppress(DataError) if done >= config.train.epochs else nullcontext():  # the data may be missing by then
            unlabelled = open_unlabelled(config) if with_unlabelled else None
            identified |= identify_frames(config, unlabelled)
            if unlabelled is not None:
                run.check_apart({f"frame {path.name}": path for path in unlabelled.places})
            run.check(config, identified, resume, force)
    check_metric(config.train.best_metric, config)
    if done >= config.train.epochs:
        Reporter(run, config.train.epochs, first).say(f"{run}: all {done} epochs are done; nothing to resume")
        return run
    state = run.read_state() if resume else None
    unlabelled = open_unlabelled(config) if with_unlabelled else None
    labelled = None
    if unlabelled is None or unlabelled.share[0]:
        labelled = open_dataset(config.data, config.data.train_split)
    judged = open_dataset(config.data, config.data.val_split)
    scorer = make_scorer(judged, config)
    scorer.check()
    fabric = launch(config.train)
    fabric.seed_everything(config.seed, verbose=False)
    objective = make_objective(config)
    taken = take_weights(objective.detector, initial) if initial is not None and state is None else None
    with fabric.rank_zero_first(
        local=True
    ):  # rank 0 builds the database of objects if it is missing; the others read it
        loader = make_loader(
            labelled,
            config.data,
            batch_size=config.train.batch_size,
            training=True,
            seed=config.seed,
            rank=fabric.global_rank,
            world=fabric.world_size,
            unlabelled=None if unlabelled is None else unlabelled.frames,
            share=(config.train.batch_size, 0) if unlabelled is None else unlabelled.share,
            teacher=objective.teacher_data,
        )
    validation = lay_out(judged, config.data, fabric.global_rank, fabric.world_size)

    def evaluate(detector: Detector) -> Validation:
        return validate(detector, validation.epoch(0), scorer, fabric)

    if fabric.is_global_zero:
        run.prepare(config, identified, describe(fabric.device), fresh=state is None)
    with Reporter(run, config.train.epochs, fabric.is_global_zero) as reporter:
        if scorer.note:
            reporter.say(f"{run}: {scorer.note}")
        for line in [*(taken.lines() if taken is not None else ()), *(unlabelled.notes if unlabelled else ())]:
            reporter.say(line)
        trainer = Trainer(objective, loader, evaluate, config, run, fabric, reporter)
        if state is not None:
            with reading(run.state, CheckpointError, "--force starts the training again"):
                trainer.restore(state)
            reporter.say(f"{run}: continues after epoch {trainer.epoch}")
        try:
            trainer.fit()
        except KeyboardInterrupt:
            reporter.say(f"{run}: stopped after epoch {trainer.epoch}; --resume continues it")
            raise
        except RuntimeError as error:
            if not is_lost_process(error):
                raise
            text = f"{run}: another process of this training has ended; --resume continues after epoch {trainer.epoch}"
            lost = MinkPDError(text)
            lost.told = not fabric.is_global_zero
            raise lost from error
        reporter.say(f"{run}: done")
    return run


def _initial_weights(config: Config) -> Path | None:
    """The weights file that the training starts from. Raises CheckpointError if it is no checkpoint of ours."""
    if config.train.initial is None:
        return None
    file = checkpoint_file(config.train.initial)
    read_config(file)
    return file


def train_detector(config: Config, resume: bool = False, force: bool = False) -> RunFolder:
    """Train the configured detector alone."""
    return train(config, lambda c: DetectionObjective(build_detector(c)), resume, force)


def distil(config: Config, teacher: Path, resume: bool = False, force: bool = False) -> RunFolder:
    """Train the configured student with the teacher of a ``.safetensors`` file beside it."""
    if config.train.initial is not None and config.distill.initialise != "random":
        raise ConfigError("'train.initial' and 'distill.initialise' both give the student its first weights; unset one")
    network, _ = load_detector(teacher)

    def make_distiller(config: Config) -> Distiller:
        student, unlabelled = build_detector(config), open_unlabelled(config)
        if unlabelled is not None:
            check_geometry(student, network)
            check_ignores(student)
        return Distiller(student, network, config, None if unlabelled is None else unlabelled.labels(network))

    return train(config, make_distiller, resume, force, {"teacher": teacher}, with_unlabelled=True)
