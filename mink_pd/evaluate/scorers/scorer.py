"""What every scorer is: the figures of a benchmark, the files that it takes, and its judgement of single frames."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mink_pd.config import Config
from mink_pd.data import Dataset
from mink_pd.data.frame import Frame
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import ConfigError
from mink_pd.evaluate.panel import Panel
from mink_pd.registry import DATASETS, SCORERS

Kept = Mapping[str, Any]  # frame id -> what a scorer keeps of the frame


class Scorer(ABC):
    """Scores detections in a data set as a benchmark does.

    headline: the figures that sum up a run, and their titles.
    examples: names of figures, for messages.
    rule: what the figures are, for the tables of a report, or nothing.
    note: what a reader of this scorer's figures must know, or nothing.
    obstacle: why the frames of the data set can be judged one by one but not scored, and what to do; or nothing.
    """

    headline: ClassVar[dict[str, str]]
    examples: ClassVar[str]
    rule: ClassVar[str] = ""
    note: str = ""
    obstacle: str = ""

    @classmethod
    @abstractmethod
    def of(cls, dataset: Dataset, config: Config) -> "Scorer":
        """The scorer of a detector with these settings in that data set. Raises ConfigError where they do not fit."""

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
        """Those of :meth:`class_figures` whose gains a report shows."""
        return list(cls.class_figures(name))

    def check(self) -> None:
        """Raise ConfigError where there is an obstacle."""
        if self.obstacle:
            raise ConfigError(self.obstacle)

    @abstractmethod
    def keep(self, frame: Frame, found: FrameDetections) -> Any:
        """What scoring and writing need of a frame; it travels between processes. Raises DataError for a frame that
        cannot be scored."""

    @abstractmethod
    def score(self, kept: Kept) -> dict[str, float]:
        """The figures that are logged; those without a meaning are left out."""

    @abstractmethod
    def write(self, folder: Path, kept: Kept) -> None:
        """Write the detections as the benchmark takes them into ``folder``, which then holds nothing else."""

    def judge(self, frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
        """Detections of at least ``score`` and missed labels of a frame, by the benchmark's own matching.

        Raises DataError where the frame has no labels to judge by, ConfigError where the scorer knows no matching.
        """
        raise ConfigError(f"'evaluate.scorer': {type(self).__name__} judges no single frame; name another scorer")


def make_scorer(dataset: Dataset, config: Config) -> Scorer:
    """The scorer of a detector with these settings in a data set. Raises ConfigError where they do not fit."""
    return scorer_of(config).of(dataset, config)


def scorer_of(config: Config) -> type[Scorer]:
    """The scorer that the configuration names, or else its data set. Raises ConfigError for an unknown name."""
    return SCORERS[scorer_name(config)]


def scorer_name(config: Config) -> str:
    """The name of the scorer that the configuration names, or else its data set."""
    return config.evaluate.scorer or DATASETS[config.data.kind].scorer


def headline(config: Config) -> dict[str, str]:
    """The figures that sum up a run with these settings, and what people call them."""
    return scorer_of(config).headline


def check_metric(name: str, config: Config) -> None:
    """Raise ConfigError if ``name`` is not among the figures of a detector with these settings."""
    scorer = scorer_of(config)
    if name not in scorer.figures(config.data.classes):
        raise ConfigError(
            f"'train.best_metric': {scorer_name(config)} has no figure called {name!r}; write {scorer.examples}"
        )
