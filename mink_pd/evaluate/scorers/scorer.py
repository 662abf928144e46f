"""The base class of scorers: the figures of a benchmark, its files of detections, and its matching in single frames."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mink_pd.config import Config
from mink_pd.data import Dataset, whole_frames
from mink_pd.data.frame import Frame
from mink_pd.data.splits import lacks_labels
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import ConfigError
from mink_pd.evaluate.panel import Panel
from mink_pd.registry import DATASETS, SCORERS

Kept = Mapping[str, Any]  # frame id -> the data that a scorer keeps of the frame


class Scorer(ABC):
    """Scores detections in a data set by the rules of a benchmark.

    headline: the figures that sum up a run, and their titles.
    examples: names of figures, for messages.
    errors: figures, without their class, of which less is better.
    rule: one line for the tables of a report that says what the figures are; may be empty.
    note: one line that readers of this scorer's figures must know; may be empty.
    obstacle: why the frames of the data set can be judged singly but not scored, and what to do; may be empty.
    """

    headline: ClassVar[dict[str, str]]
    examples: ClassVar[str]
    errors: ClassVar[frozenset[str]] = frozenset()
    rule: ClassVar[str] = ""
    note: str = ""
    obstacle: str = ""

    @classmethod
    @abstractmethod
    def of(cls, dataset: Dataset, config: Config) -> "Scorer":
        """The scorer for a detector with these settings in that data set. Raises ConfigError if they do not fit."""

    @classmethod
    @abstractmethod
    def figures(cls, classes: list[str]) -> set[str]:
        """The names of all figures that ``score`` can give for a detector of these classes."""

    @classmethod
    def class_figures(cls, name: str) -> dict[str, str]:
        """The figures of class ``name`` that a report shows, and their titles."""
        return {}

    @classmethod
    def main_class_figures(cls, name: str) -> list[str]:
        """The names in :meth:`class_figures` whose gains a report shows."""
        return list(cls.class_figures(name))

    def check(self) -> None:
        """Raise ConfigError if there is an obstacle."""
        if self.obstacle:
            raise ConfigError(self.obstacle)

    @abstractmethod
    def keep(self, frame: Frame, found: FrameDetections) -> Any:
        """The data of a frame that scoring and writing need; processes exchange them. Raises DataError for a frame that
        cannot be scored."""

    @abstractmethod
    def score(self, kept: Kept) -> dict[str, float]:
        """The figures to log; undefined ones are omitted."""

    @abstractmethod
    def write(self, folder: Path, kept: Kept) -> None:
        """Replace the content of ``folder`` with the detections in the benchmark's format."""

    def read(self, folder: Path, frames: Iterable[Frame]) -> Kept:
        """What ``write`` has written into ``folder`` of these frames, as ``keep`` gives it.

        Raises DataError for a missing or malformed file, ConfigError if the scorer cannot read its files.
        """
        raise ConfigError(f"'evaluate.scorer': {type(self).__name__} cannot pool detections of folds; name another")

    def judge(self, frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
        """The outcomes of detections that score at least ``score`` and of labels, by the benchmark's matching.

        Raises DataError if the frame has no labels, ConfigError if the scorer cannot judge single frames.
        """
        raise ConfigError(f"'evaluate.scorer': {type(self).__name__} cannot judge single frames; name another scorer")


def make_scorer(dataset: Dataset, config: Config) -> Scorer:
    """The scorer for a detector with these settings in a data set. Frames without labels are an obstacle.

    Raises ConfigError if the settings do not fit.
    """
    scorer = scorer_of(config).of(whole_frames(dataset), config)
    if text := lacks_labels(dataset):
        scorer.obstacle = f"'data.val_split' or --split: {text}"
    return scorer


def scorer_of(config: Config) -> type[Scorer]:
    """The scorer that the configuration names, else that of its data set. Raises ConfigError for an unknown name."""
    return SCORERS[scorer_name(config)]


def scorer_name(config: Config) -> str:
    """The name of the scorer that the configuration names, else that of its data set."""
    return config.evaluate.scorer or DATASETS[config.data.kind].scorer


def headline(config: Config) -> dict[str, str]:
    """The figures that sum up a run with these settings, and their titles."""
    return scorer_of(config).headline


def check_metric(name: str, config: Config) -> None:
    """Raise ConfigError if ``name`` is not among the figures of a detector with these settings, or is an error."""
    scorer = scorer_of(config)
    if name.split("/")[-1] in scorer.errors:
        raise ConfigError(
            f"'train.best_metric': less of {name!r} is better, and the most is kept; write {scorer.examples}"
        )
    if name not in scorer.figures(config.data.classes):
        raise ConfigError(
            f"'train.best_metric': {scorer_name(config)} has no figure called {name!r}; write {scorer.examples}"
        )
