"""Runs one training from configuration to run folder; called by mink-pd train and mink-pd distill."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only

from mink_pd.config import Config
from mink_pd.data import Dataset, open_dataset, open_training
from mink_pd.data.loading.epochs import make_loader
from mink_pd.data.splits import overlap
from mink_pd.detect.device import launch
from mink_pd.distill import Distiller
from mink_pd.distill.distiller import check_geometry, check_ignores
from mink_pd.errors import CheckpointError, ConfigError, DataError, LostProcessError
from mink_pd.evaluate.scorers import Scorer, check_metric, make_scorer
from mink_pd.files import reading
from mink_pd.models import Detector, build_detector
from mink_pd.models.checkpoint import checkpoint_file, load_detector, read_config
from mink_pd.models.initial import take_weights
from mink_pd.processes import is_lost_process
from mink_pd.train.environment import describe
from mink_pd.train.loop import Loader, Trainer
from mink_pd.train.objective import DetectionObjective, Objective
from mink_pd.train.reporter import Reporter
from mink_pd.train.run_folder import Files, RunFolder, identify
from mink_pd.train.unlabelled import Unlabelled, forget_opened, identify_frames, open_unlabelled
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
    the settings do not fit together, and DataError for frames without labels. Raises LostProcessError if another
    process of this training ends.
    """
    run = RunFolder.of(config)
    initial = _initial_weights(config)
    files = {**(files or {}), **({} if initial is None else {"initial": initial})}
    identified, done = _admit(run, config, files, resume, force, with_unlabelled)
    check_metric(config.train.best_metric, config)
    if done >= config.train.epochs:
        Reporter(run, config.train.epochs, _is_first()).say(f"{run}: all {done} epochs are done; nothing to resume")
        return run
    state = run.read_state() if resume else None
    unlabelled = open_unlabelled(config) if with_unlabelled else None
    judged = open_dataset(config.data, config.data.val_split)
    scorer = make_scorer(judged, config)
    scorer.check()
    labelled, remarks = _labelled_frames(config, unlabelled, judged)
    fabric = launch(config.train)
    fabric.seed_everything(config.seed, verbose=False)
    objective = make_objective(config)
    notes = [f"{run}: {note}" for note in (*remarks, scorer.note, *(objective.notes if state is None else [])) if note]
    if initial is not None and state is None:
        notes += take_weights(objective.detector, initial).lines()
    with _survivors_say_so(run):
        loader = _training_batches(config, labelled, unlabelled, objective, fabric)
        validate_detector = _validation(config, judged, scorer, fabric)
        if fabric.is_global_zero:
            run.prepare(config, identified, describe(fabric.device, [*remarks, *objective.notes]), fresh=state is None)
        with Reporter(run, config.train.epochs, fabric.is_global_zero) as reporter:
            for line in [*notes, *(unlabelled.notes if unlabelled is not None else [])]:
                reporter.say(line)
            _fit(Trainer(objective, loader, validate_detector, config, run, fabric, reporter), state)
    return run


def _is_first() -> bool:
    """Whether this is rank 0, by the launcher's environment: the process group does not exist yet."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _admit(
    run: RunFolder, config: Config, files: dict[str, Path], resume: bool, force: bool, with_unlabelled: bool
) -> tuple[Files, int]:
    """The files that the result depends on, and the number of epochs that are done.

    Rank 0 raises ConfigError if the training must not use the run folder.
    """
    identified = identify(files)
    if _is_first():
        run.check(config, identified, resume, force)
    done = run.epochs_done() if resume else 0
    if _is_first():
        with suppress(DataError) if done >= config.train.epochs else nullcontext():  # the data may be missing by then
            unlabelled = open_unlabelled(config) if with_unlabelled else None
            identified |= identify_frames(config, unlabelled)
            run.check_apart(
                {f"set {name} of data.also": one.root for name, one in config.data.also.items() if one.root}
            )
            if unlabelled is not None:
                run.check_apart({f"unlabelled {path.name}": path for path in unlabelled.inputs})
            run.check(config, identified, resume, force)
    return identified, done


def _labelled_frames(
    config: Config, unlabelled: Unlabelled | None, judged: Dataset
) -> tuple[Dataset | None, list[str]]:
    """The labelled training frames (None: there are none), and lines for the user where they are ``judged`` as well."""
    if unlabelled is not None and not unlabelled.share[0]:
        return None, []
    labelled = open_training(config.data)
    return labelled, overlap(labelled, judged)


def _training_batches(
    config: Config, labelled: Dataset | None, unlabelled: Unlabelled | None, objective: Objective, fabric: Fabric
) -> Loader:
    """This process's share of the training batches."""
    # Rank 0 builds the database of objects if it is missing; the others read it.
    with fabric.rank_zero_first(local=True):
        return make_loader(
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


def _validation(config: Config, judged: Dataset, scorer: Scorer, fabric: Fabric) -> Callable[[Detector], Validation]:
    """Evaluates a detector on the validation split."""
    frames = lay_out(judged, config.data, fabric.global_rank, fabric.world_size)
    return lambda detector: validate(detector, frames.epoch(0), scorer, fabric)


def _fit(trainer: Trainer, state: dict[str, Any] | None) -> None:
    """Train from ``state``, or from the start, to the last epoch."""
    run, reporter = trainer.run, trainer.reporter
    if state is not None:
        with reading(run.state, CheckpointError, "--force starts the training again"):
            trainer.restore(state)
        reporter.say(f"{run}: continues after epoch {trainer.epoch}")
    try:
        trainer.fit()
    except KeyboardInterrupt:
        reporter.say(f"{run}: stopped after epoch {trainer.epoch}; --resume continues it")
        raise
    reporter.say(f"{run}: done")


@contextmanager
def _survivors_say_so(run: RunFolder) -> Iterator[None]:
    """Raise LostProcessError where a collective operation fails because another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        text = f"{run}: another process of this training has ended; --resume continues after the last finished epoch"
        raise LostProcessError(text) from error


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
    """Train the configured student with the teacher in a ``.safetensors`` file."""
    if config.train.initial is not None and config.distill.initialise == "teacher":
        raise ConfigError("'train.initial' and 'distill.initialise' both give the student its first weights; unset one")
    network, _ = load_detector(teacher)
    forget_opened()

    def make_distiller(config: Config) -> Distiller:
        student, unlabelled = build_detector(config), open_unlabelled(config)
        if unlabelled is not None:
            check_geometry(student, network)
            check_ignores(student)
        return Distiller(student, network, config, None if unlabelled is None else unlabelled.labels(network))

    return train(config, make_distiller, resume, force, {"teacher": teacher}, with_unlabelled=True)
