"""Run folders: everything one training writes, enough to repeat it (``runs/NAME/``)."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from mink_pd.config import Config, TrainConfig, dump_config, flat, load_config
from mink_pd.errors import ConfigError
from mink_pd.files import make_folder, write_text
from mink_pd.models.checkpoint import WEIGHTS, Which
from mink_pd.train.state import load_state

Files = dict[str, dict[str, str]]  # what the file is -> its path and sha256

# Keys that may differ when a run is resumed: they move it or change its speed, not its result.
# So may the number of processes where it changes nothing: synchronised norm and the same frames a step.
MOVABLE = ("name", "runs", "data.root", "data.workers", "train.accelerator", "train.threads")

PROCESSES = ("train.devices", "train.nodes", "train.batch_size")


class RunFolder:
    """Paths inside one run folder, and what may be done with it.

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
        """The run folder that ``config`` names. Raises ConfigError if the name is not that of one folder."""
        name = config.name or ""
        if not name or name in (".", "..") or Path(name).name != name:
            raise ConfigError(f"'name' must be one folder's name, got {name!r}; write for example name=teacher")
        return cls(config.runs / name)

    def weights(self, which: Which) -> Path:
        """The exported detector: ``last`` or ``best``."""
        return self.path / WEIGHTS.format(which)

    @property
    def exists(self) -> bool:
        """Whether anything is in the folder's place."""
        return self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir()))

    def check(self, config: Config, files: Files, resume: bool, force: bool) -> None:
        """Refuse to mix a new training with what is in the folder, before any work is done.

        Raises ConfigError if the folder is taken, is not a run folder, or was started with other settings.
        """
        if not self.exists:
            return
        if not (resume or force):
            text = "--resume continues it, --force starts again, or name=... chooses another"
            raise ConfigError(f"{self.path} exists; {text}")
        if not self.config.is_file():
            raise ConfigError(f"{self.path} exists and is not a run folder (no config.yaml); name=... chooses another")
        if resume:
            self._check_same(config, files)

    def matches(self, config: Config, files: Files) -> bool:
        """Whether the folder holds a run, finished or not, of just these settings."""
        try:
            self.check(config, files, resume=True, force=False)
        except ConfigError:
            return False
        return True

    def _check_same(self, config: Config, files: Files) -> None:
        earlier = load_config(self.config)
        before, now = flat(earlier), flat(config)
        movable = MOVABLE + PROCESSES * _same_batches(earlier.train, config.train)
        for key in [*before, *(key for key in now if key not in before)]:
            old, new = before.get(key), now.get(key)
            unused = key.startswith("distill.") and "teacher" not in files
            if old != new and key not in movable and not unused:
                remedy = f"--resume with {key}={json.dumps(old)}, or name=... starts another run"
                raise ConfigError(
                    f"{self.path} was started with {key}={json.dumps(old)}, now {json.dumps(new)}; {remedy}"
                )

        known = json.loads(self.files.read_text()) if self.files.exists() else {}
        for name in {**known, **files}:
            if known.get(name, {}).get("sha256") != files.get(name, {}).get("sha256"):
                raise ConfigError(f"{self.path} was started with another {name}; name=... starts another run")

    def prepare(self, config: Config, files: Files, environment: str, fresh: bool) -> None:
        """Make the folder and write what describes the run; ``fresh`` removes an earlier run's files."""
        if fresh:
            self.clear()
        for folder in (self.path, self.checkpoints, self.figures):
            make_folder(folder)
        for left_over in self.checkpoints.glob(".*"):  # half-written by a process that was killed
            left_over.unlink()
        write_text(self.config, dump_config(config))
        if files:
            write_text(self.files, json.dumps(files, indent=1) + "\n")
        earlier = self.environment.read_text() + "\n" if self.environment.exists() else ""
        write_text(self.environment, earlier + environment)

    def clear(self) -> None:
        """Remove what a training writes; other files that someone put into the folder stay."""
        for folder in (self.checkpoints, self.results, self.figures):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (
            self.config,
            self.environment,
            self.metrics,
            self.files,
            *self.path.glob("events.out.tfevents.*"),
        ):
            file.unlink(missing_ok=True)

    def read_state(self) -> dict[str, Any] | None:
        """The state to resume from; None if no epoch has been finished."""
        return load_state(self.state) if self.state.exists() else None


def identify(files: dict[str, Path]) -> Files:
    """Path and digest of files that a result depends on."""
    return {
        name: {"path": str(path.resolve()), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, path in files.items()
    }


def _same_batches(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether all that differs between two numbers of processes is who computes what."""
    frames = [settings.batch_size * settings.devices * settings.nodes for settings in (one, other)]
    return one.sync_norm and other.sync_norm and frames[0] == frames[1]
