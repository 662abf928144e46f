"""Run folders (``runs/NAME/``): everything that a training writes, enough to repeat it."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mink_pd.config import Config, DataConfig, TrainConfig, dump_config, flat, load_config
from mink_pd.data import open_dataset, open_training
from mink_pd.errors import CheckpointError, ConfigError, DataError
from mink_pd.files import PART, make_folder, read_bytes, read_json, reading, sweep, write_text, writing
from mink_pd.models.checkpoint import WEIGHTS, Which, read_epoch
from mink_pd.train.state import load_state

Files = dict[str, dict[str, str]]  # role of the file -> its path and sha256

DATA, UNLABELLED = "data", "unlabelled"  # of these roles: the frames of both splits, and those without labels
_DIGESTS: dict[str, str] = {}  # keyed by data settings: a matrix asks once per run, and most runs share their data

# Keys that may differ when a run is resumed: they change its path or speed, but not its result. Frames and weights that
# were moved are compared by their digest. The number of processes may differ if batch norm is synchronised and the
# number of frames per step stays the same.
MOVABLE = (
    "name",
    "runs",
    "data.root",
    "data.workers",
    "distill.unlabelled.paths",
    "distill.unlabelled.boxes",
    "train.accelerator",
    "train.initial",
    "train.threads",
)

PROCESSES = ("train.devices", "train.nodes", "train.batch_size")


class RunFolder:
    """The paths inside one run folder, and checks of what may be done with the folder.

    config.yaml, environment.txt, metrics.jsonl, TensorBoard events, checkpoints/{last,best}.safetensors
    (weights), checkpoints/last.state.pt (training state), results/ (KITTI detections of the last validation),
    figures/, and files.json where the result depends on other files (the teacher's checkpoint).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.txt"
        self.metrics = path / "metrics.jsonl"
        self.files = path / "files.json"
        self.checkpoints = path / "checkpoints"
        self.state = self.checkpoints / "last.state.pt"
        self.results = path / "results"
        self.figures = path / "figures"

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def of(cls, config: Config) -> "RunFolder":
        """The run folder that ``config`` names. Raises ConfigError if the name is not a single folder name."""
        name = config.name or ""
        if not name or name in (".", "..") or Path(name).name != name:
            raise ConfigError(f"'name' must be one folder's name, got {name!r}; write for example name=teacher")
        return cls(config.runs / name)

    def weights(self, which: Which) -> Path:
        """The exported detector: ``last`` or ``best``."""
        return self.path / WEIGHTS.format(which)

    @property
    def exists(self) -> bool:
        """Whether anything exists at the folder's path."""
        return self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir()))

    @property
    def half_made(self) -> bool:
        """Whether the process of the run was killed before it wrote its settings; the folder then holds nothing of
        value."""
        if not self.path.is_dir() or self.config.exists():
            return False
        own = {file.name for file in (self.environment, self.files, self.metrics)}
        folders = {folder.name for folder in (self.checkpoints, self.results, self.figures)}
        return all(
            entry.name in own
            or entry.name.endswith(PART)
            or entry.name.startswith("events.out.tfevents.")
            or (entry.name in folders and entry.is_dir() and all(one.name.endswith(PART) for one in entry.iterdir()))
            for entry in self.path.iterdir()
        )

    def check(self, config: Config, files: Files, resume: bool, force: bool) -> None:
        """Refuse, before any work is done, to mix a new training with the contents of the folder.

        Raises ConfigError if the folder is taken, is not a run folder, or was started with other settings.
        """
        self.check_apart({name: Path(file["path"]) for name, file in files.items()})
        if not self.exists or self.half_made:
            return
        if not (resume or force):
            text = "--resume continues it, --force starts again, or name=... chooses another"
            raise ConfigError(f"{self.path} exists; {text}")
        if not self.config.is_file():
            raise ConfigError(f"{self.path} exists and is not a run folder (no config.yaml); name=... chooses another")
        if resume:
            self._check_same(config, files)
            self._check_state(config.train.epochs)

    def check_apart(self, reads: dict[str, Path]) -> None:
        """Raise ConfigError if the training reads anything from the folder that it writes to: a restart would remove
        it. Links are resolved.

        reads: role -> a file, or the root of a data set.
        """
        written = [part.resolve() for part in (self.checkpoints, self.results, self.figures, *self._own_files())]
        for what, path in reads.items():
            for one in {one.resolve() for one in (path, *_folders(path, depth=2))}:  # folders may be links
                if any(one == part or part in one.parents for part in written):
                    text = f"{self.path}: the {what} is read from {one}, which the run would replace"
                    raise ConfigError(f"{text}; name=... chooses another folder")

    def epochs_done(self) -> int:
        """Number of epochs that need not be trained again: that of the state, or of the weights if the state is
        missing.

        Weights of the first epoch without a state do not count: a kill between the two writes leaves them.
        Raises CheckpointError for damaged files.
        """
        if (state := self.read_state()) is not None:
            return int(state["epoch"])
        weights = self.weights("last")
        epochs = read_epoch(weights) if weights.exists() else 0
        return epochs if epochs > 1 else 0

    def _check_state(self, epochs: int) -> None:
        """Raise CheckpointError if there are epochs but no state to resume from: a fresh start would remove the
        weights.
        """
        if not self.state.exists() and 0 < (done := self.epochs_done()) < epochs:
            raise CheckpointError(
                f"{self.state}: missing, and last.safetensors holds epoch {done}; put it back, or --force starts again"
            )

    def matches(self, config: Config, files: Files) -> bool:
        """Whether the folder holds a run, finished or not, with exactly these settings."""
        return self.difference(config, files) is None

    def difference(self, config: Config, files: Files) -> str | None:
        """One line on how the run in the folder differs from these settings; None if it does not."""
        try:
            if not self.config.is_file():
                raise ConfigError(f"{self.path} is not a run folder (no config.yaml)")
            self._check_same(config, files)
        except (ConfigError, DataError) as error:
            return str(error)
        return None

    @property
    def has_weights(self) -> bool:
        """Whether the run has finished an epoch, which a restart would lose."""
        return any(self.checkpoints.glob("*.safetensors"))

    def _check_same(self, config: Config, files: Files) -> None:
        earlier = load_config(self.config)
        before, now = flat(earlier), flat(config)
        movable = MOVABLE + PROCESSES * _same_batches(earlier, config)
        for key in [*before, *(key for key in now if key not in before)]:
            old, new = before.get(key), now.get(key)
            unused = key.startswith("distill.") and "teacher" not in files
            if old != new and not (key in movable or is_root(key)) and not unused:
                remedy = f"--resume with {key}={json.dumps(old)}, or name=... starts another run"
                raise ConfigError(
                    f"{self.path} was started with {key}={json.dumps(old)}, now {json.dumps(new)}; {remedy}"
                )

        known = self.read_files()
        for name in {**known, **files}:
            if name in (DATA, UNLABELLED) and DATA not in files:
                continue  # not read yet
            if known.get(name, {}).get("sha256") != files.get(name, {}).get("sha256"):
                origin = f" (from {known[name]['path']})" if name in known else ""
                raise ConfigError(f"{self.path} was started with another {name}{origin}; name=... starts another run")

    def read_files(self) -> Files:
        """The files that the run depends on, as ``identify`` gave them. Raises DataError for a damaged files.json."""
        if not self.files.exists():
            return {}
        remedy = "put it back, or --force starts the run again"
        with reading(self.files, DataError, remedy):
            known = read_json(self.files, DataError, remedy)
            return {str(name): {key: str(one[key]) for key in ("path", "sha256")} for name, one in known.items()}

    def prepare(self, config: Config, files: Files, environment: str, fresh: bool) -> None:
        """Make the folder and write what describes the run; ``fresh`` removes an earlier run's files.

        The settings are removed before all other files and written after them. Whenever the process dies, a folder with
        config.yaml is complete, and one without it is ``half_made``.
        Raises DataError if the folder cannot be written.
        """
        if fresh:
            self.clear()
        for folder in (self.path, self.checkpoints, self.figures):
            make_folder(folder)
            sweep(folder)
        if files:
            write_text(self.files, json.dumps(files, indent=1) + "\n")
        with writing(self.environment):
            earlier = self.environment.read_text(errors="replace") + "\n" if self.environment.exists() else ""
        write_text(self.environment, earlier + environment)
        write_text(self.config, dump_config(config))

    def clear(self) -> None:
        """Remove what a training writes, and keep any other files in the folder. Raises DataError."""
        if not self.path.is_dir():
            return
        with writing(self.path, "remove the folder yourself, or name=... chooses another"):
            for folder in (self.checkpoints, self.results, self.figures):
                if folder.exists():
                    shutil.rmtree(folder)
            for file in self._own_files():
                file.unlink(missing_ok=True)

    def _own_files(self) -> list[Path]:
        """The files of a run that are not in its subfolders; the settings come first."""
        return [self.config, self.files, self.metrics, self.environment, *self.path.glob("events.out.tfevents.*")]

    def read_state(self) -> dict[str, Any] | None:
        """The state to resume from; None if no epoch is finished."""
        if not self.state.exists():
            return None
        state = load_state(self.state)
        if not isinstance(state.get("epoch"), int):
            raise CheckpointError(f"{self.state}: damaged, it names no epoch; --force starts the training again")
        return state


def identify(files: dict[str, Path]) -> Files:
    """Path and digest of the files that a result depends on. Raises CheckpointError for an unreadable file."""
    return {
        name: {"path": str(path.resolve()), "sha256": hashlib.sha256(read_bytes(path, CheckpointError)).hexdigest()}
        for name, path in files.items()
    }


def identify_data(config: DataConfig, labelled: bool = True) -> Files:
    """Root and digest of the frames of both splits, or of the validation's where no training frame is ``labelled``.

    Raises DataError and ConfigError as ``open_dataset`` does.
    """
    key = f"{labelled} {config.model_dump_json()}"
    if key not in _DIGESTS:
        sets = [*([open_training(config)] if labelled else []), open_dataset(config, config.val_split)]
        digests = [one.identity() for one in sets]
        _DIGESTS[key] = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return {DATA: {"path": str(config.root.resolve()), "sha256": _DIGESTS[key]}}


def _folders(path: Path, depth: int) -> Iterator[Path]:
    """The folders, and links to folders, at most ``depth`` levels below ``path``."""
    if depth and path.is_dir():
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield Path(entry.path)
                    yield from _folders(Path(entry.path), depth - 1)


def is_root(key: str) -> bool:
    """Whether a dotted key is the root of one of the sets in ``data.also``; like ``data.root``, it may change."""
    return key.startswith("data.also.") and key.endswith(".root")


def frames_a_step(settings: TrainConfig) -> int:
    """Frames of all processes in one batch."""
    return settings.batch_size * settings.devices * settings.nodes


def _same_batches(one: Config, other: Config) -> bool:
    """Whether the number of processes changes only how the work is divided, and not the result."""
    if not (one.train.sync_norm and other.train.sync_norm):
        return False
    return frames_a_step(one.train) == frames_a_step(other.train) and _unlabelled(one) == _unlabelled(other)


def _unlabelled(config: Config) -> int:
    """Unlabelled frames of all processes in one batch."""
    settings, size = config.distill.unlabelled, config.train.batch_size
    if not settings.paths:
        return 0
    return settings.batch_of(size)[1] * (frames_a_step(config.train) // size)
