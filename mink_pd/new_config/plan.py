"""The numbers of a new configuration, chosen from the labelled frames."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mink_pd.config import Config, DataConfig
from mink_pd.data import open_dataset, open_training
from mink_pd.data.clouds.survey import Survey, survey
from mink_pd.data.splits import check_labelled, overlap
from mink_pd.errors import DataError
from mink_pd.models import build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.new_config.anchor_shapes import ClassAnchors, anchors_of, typical_anchor
from mink_pd.new_config.budget import BUDGETS, Budget
from mink_pd.new_config.extent import ENOUGH, Extent, find_extent
from mink_pd.new_config.sites import NearSites, find_sites

_WITH_SITES = 100  # number of frames in which the head's sites are computed
_OF_A_CLASS = 25  # minimum number of frames with an object of each class
_FULL, _FOOTPRINT = 15, 10.0  # a frame is filled up to at most 15 objects of a class that cover 10 m^2 each


@dataclass(frozen=True)
class Plan:
    """All choices that the configuration records."""

    data: DataConfig  # the settings with which the frames were read
    overlap: list[str]  # a line where validation frames are training frames
    budget: str  # its name in BUDGETS
    objects: Counter  # number of objects of each class in the whole training split
    in_val: Counter  # the same in the validation split
    frames: int  # number of frames of the training split
    found: Survey  # of some frames of the training split
    extent: Extent
    anchors: dict[str, ClassAnchors]  # of each class that has objects
    fill: dict[str, int]  # number of objects of each class that ground-truth sampling fills a frame up to

    @property
    def classes(self) -> list[str]:
        """The classes to train: those with objects."""
        return list(self.anchors)

    @property
    def affords(self) -> Budget:
        """Detector and schedule of the budget."""
        return BUDGETS[self.budget]

    @property
    def any_class(self) -> bool:
        """Whether a class has several shapes. Then any anchor may match any class."""
        return any(len(one.shapes) > 1 for one in self.anchors.values())

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Edge lengths [m]."""
        return _voxel(self.affords, self.extent)

    @property
    def epochs(self) -> int:
        """The number of epochs that gives the budget's steps, within its bounds."""
        budget = self.affords
        return int(np.clip(-(-budget.steps * budget.batch_size // self.frames), *budget.epochs))

    def learnt(self, name: str) -> np.ndarray:
        """Which objects of the survey are used in training, bool (B,): those of the class in range with a point."""
        return self.found.of(name) & self.extent.inside & (self.found.inside > 0)

    def per_frame(self, name: str) -> float:
        """Mean number of objects of a class in a frame."""
        return self.objects[name] / self.frames


def make_plan(data: DataConfig, budget: str, most: int, advance: Callable[[], object] = lambda: None) -> Plan:
    """Survey ``most`` frames of the training split, more if a class is rare, and choose every number.

    advance: called after each frame. Raises DataError if no class has an object or a frame has no labels.
    """
    dataset = open_training(data)
    validation = check_labelled(open_dataset(data, data.val_split), "data.val_split")
    names = dataset.frame_names()
    objects, in_val = _count(names), _count(validation.frame_names())
    classes = [name for name in data.classes if objects[name]]
    if not classes:
        raise DataError(
            f"{dataset.root}: split '{data.train_split}' has no object of {', '.join(data.classes)}; label some, or"
            " choose the classes with --classes"
        )
    chosen = choose_frames(names, classes, most)

    def frames(indices: Iterable[int]) -> Iterable:
        for index in indices:
            yield dataset[index]
            advance()

    found = survey(frames(chosen))
    affords = BUDGETS[budget]
    extent = find_extent(found, np.isin(found.names, classes), affords.voxel[0] * affords.cells)
    detector = _detector(data, affords, extent, classes)
    some = choose_frames([names[index] for index in chosen], classes, _WITH_SITES)
    sites = find_sites(detector, (dataset[chosen[index]] for index in some))
    return Plan(
        data=data,
        overlap=overlap(dataset, validation),
        budget=budget,
        objects=objects,
        in_val=in_val,
        frames=len(dataset),
        found=found,
        extent=extent,
        anchors={name: _anchors(found, extent, sites.of(number), name) for number, name in enumerate(classes)},
        fill={name: _fill(found, name, objects, len(dataset)) for name in classes},
    )


def choose_frames(names: Sequence[np.ndarray], classes: Sequence[str], most: int) -> list[int]:
    """Indices of ``most`` evenly spaced frames, and of further ones for each rare class.

    names: for each frame the classes of its objects.
    """
    chosen = set(_spread(list(range(len(names))), most))
    for name in classes:
        holding = [index for index, those in enumerate(names) if name in those]
        missing = _OF_A_CLASS - len(chosen.intersection(holding))
        if missing > 0:
            chosen.update(_spread([index for index in holding if index not in chosen], missing))
    return sorted(chosen)


def _spread(indices: list[int], count: int) -> list[int]:
    """At most ``count`` of the indices, evenly spread."""
    steps = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return [indices[step] for step in steps]


def _count(names: Sequence[np.ndarray]) -> Counter:
    return Counter(name for those in names for name in those.tolist())


def _voxel(budget: Budget, extent: Extent) -> tuple[float, float, float]:
    """Edge lengths of a voxel [m]; a pillar is as high as the range."""
    side, height = budget.voxel
    return side, side, round(extent.bounds[5] - extent.bounds[2], 4) if height is None else height


def _detector(data: DataConfig, budget: Budget, extent: Extent, classes: list[str]) -> AnchorDetector:
    """The detector of the budget, with the same anchors for all classes, because its sites do not depend on them."""
    anchor = typical_anchor(np.array([[0, 0, 0, 1.0, 1.0, 1.0, 0]]))
    model = {"name": budget.detector, "voxel_size": _voxel(budget, extent), **budget.model}
    config = Config.model_validate({
        "data": data.model_dump() | {"classes": classes, "range": extent.bounds},
        "model": model | {"anchors": dict.fromkeys(classes, anchor)},
    })  # fmt: skip
    detector = build_detector(config)
    assert isinstance(detector, AnchorDetector)
    return detector.eval()


def _anchors(found: Survey, extent: Extent, sites: NearSites, name: str) -> ClassAnchors:
    """The anchors of a class, from the objects used in training, or from all its objects if none is used."""
    own = found.of(name)
    trained = own & extent.inside & (found.inside > 0)
    return anchors_of(sites, found.boxes[trained if trained.any() else own])


def _fill(found: Survey, name: str, objects: Counter, frames: int) -> int:
    """How many objects of a class ground-truth sampling fills a frame up to.

    Twice the class's mean number per frame or half of the commonest class's, whichever is larger. Large classes get
    fewer because they would fill the scene, and so do classes with few objects to paste.
    """
    own = found.of(name)
    common = max(objects.values()) / frames
    wanted = max(2 * objects[name] / frames, common / 2, 2.0)
    area = max(float(np.median(found.boxes[own, 3] * found.boxes[own, 4])), _FOOTPRINT)
    usable = objects[name] * float(np.mean(found.inside[own] >= ENOUGH))
    return int(min(round(wanted), _FULL, max(2.0, _FULL * _FOOTPRINT / area), usable))
