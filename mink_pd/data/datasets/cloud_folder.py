"""A folder of clouds with boxes in the LiDAR frame: any sensor, any classes, no camera.

root/points/NAME.{bin,npy,npz,pcd,ply,las,laz} are the clouds. root/labels/NAME.{txt,json} are their labels; a frame
without a file is unlabelled, one with an empty file has no objects. root/splits/SPLIT.txt lists one name per line.
root/dataset.yaml describes what cannot be guessed (:class:`mink_pd.data.clouds.cloud_description.DatasetFile`).
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from mink_pd.config import DataConfig
from mink_pd.config.points import PointsConfig
from mink_pd.config.settings_yaml import plain
from mink_pd.data.clouds.cloud_description import DESCRIPTION, DatasetFile, read_description
from mink_pd.data.clouds.cloud_labels import NO_LABELS, Labels, read_labels
from mink_pd.data.clouds.cloud_labels import SUFFIXES as LABEL_SUFFIXES
from mink_pd.data.clouds.survey import wider_than_long
from mink_pd.data.dataset import Dataset, View
from mink_pd.data.formats import SUFFIXES, read_columns
from mink_pd.data.frame import Frame
from mink_pd.data.frame_lists import by_number, read_frame_list
from mink_pd.data.looks import likely
from mink_pd.data.points import Cloud, read_cloud
from mink_pd.errors import ConfigError, DataError, MinkPDError
from mink_pd.files import read_bytes
from mink_pd.registry import DATASETS

_BLOCK = 10  # number of consecutive frames that stay in one split, because neighbours look alike
_LOOKED_AT = 100  # label files, for what is warned of

logger = logging.getLogger(__name__)


class CloudsConfig(DataConfig):
    """Settings of a folder of clouds. Settings of points and classes that are not set are taken from dataset.yaml.

    val_share: share of the frames for validation if splits/ has no list; they are drawn with split_seed.
    """

    kind: Literal["clouds"] = "clouds"
    root: Path = Path("data/clouds")
    camera_view: bool = False
    val_share: float = Field(0.2, gt=0, lt=1)
    split_seed: int = Field(0, ge=0)
    _described: Path | None = PrivateAttr(None)  # the root whose dataset.yaml these settings must agree with

    @model_validator(mode="before")
    @classmethod
    def _take_over(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        root = Path(str(plain(value.get("root", cls.model_fields["root"].default)))).expanduser()
        wanted = [key for key in (*PointsConfig.model_fields, "classes") if key not in value]
        if not wanted or not (root / "points").is_dir():
            if wanted == ["axes"]:  # complete settings of an earlier version, whose folder was moved
                logger.warning(
                    "data.axes: not stored by the version that made this run, and %s is not here; x_forward is assumed,"
                    " give --axes or data.axes if the clouds have others", root,
                )  # fmt: skip
            return value
        if not (root / DESCRIPTION).is_file():
            raise _missing(root)
        described = read_description(root).model_dump()
        described["classes"] = list(described["classes"])
        return {**value, **{key: described[key] for key in wanted}}

    @model_validator(mode="after")
    def _remember(self) -> "CloudsConfig":
        self._described = self.root
        return self


@DATASETS.register("clouds")
class CloudFolder(Dataset):
    """The frames of one split, ordered by name and the numbers in it; IDs are the files' names without suffix.

    split: a list in splits/, or "all", "labelled" or "unlabelled" clouds. Without a list, "train" and "val" are drawn
    at random in blocks of ten consecutive frames.
    Boxes include all labelled objects except those that dataset.yaml ignores.
    Raises DataError on construction if a file is missing or exists twice, a list names a frame without a cloud or, for
    training and validation, without labels, or dataset.yaml is incomplete.
    """

    Settings = CloudsConfig
    scorer = "clouds"
    view = View(all_around=True)

    @classmethod
    def open(cls, config: Any, split: str, max_frames: int | None) -> "CloudFolder":
        return cls(config, split, max_frames)

    def __init__(self, config: CloudsConfig, split: str, max_frames: int | None = None) -> None:
        self.root, self.split = config.root, split
        self.clouds = _files(self.root / "points", SUFFIXES)
        self.labels = _files(self.root / "labels", LABEL_SUFFIXES) if (self.root / "labels").is_dir() else {}
        if not self.clouds:
            raise DataError(f"{self.root / 'points'}: holds no {', '.join(SUFFIXES)} file; put the clouds there")
        self.description = self._describe(config)
        self.ids = self._choose(split, config)[:max_frames]
        if not self.ids:
            if split in ("labelled", "unlabelled"):
                what = "no cloud has a label file" if split == "labelled" else "every cloud has a label file"
                raise DataError(f"{self.root / 'labels'}: {what}; choose another split, or change the labels")
            raise DataError(f"{self.root}: split '{split}' names no frame; add splits/{split}.txt, or choose another")
        if split == config.train_split:
            self._warn_of_swapped_sizes()

    def _warn_of_swapped_sizes(self) -> None:
        """Say once where most objects of a class are wider than long, as when length and width are swapped."""
        labelled = [id for id in self.ids if id in self.labels]
        chosen = [self._labels_of(id) for id in labelled[:: max(1, len(labelled) // _LOOKED_AT)]]
        if not chosen:
            return
        boxes = np.concatenate([labels.boxes for labels in chosen])  # (B, 7)
        names = np.concatenate([labels.names for labels in chosen])
        for name in self.description.classes:
            own = boxes[names == name]
            if wider_than_long(own):
                length, width = np.median(own[:, 3:5], axis=0)
                logger.warning(
                    "%s: most labels of %s are wider than long (median length %.2f m, width %.2f m); labels give length"
                    " before width, and yaw along the length: correct them if this is not intended",
                    self.root / "labels", name, length, width,
                )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        """Read frame ``index``. Raises DataError that names a malformed file."""
        id = self.ids[index]
        points, dropped = self._cloud(id)
        frame = Frame(id, points, dropped=dropped, labelled=id in self.labels, to_lidar=self.description.to_lidar)
        if frame.labelled:
            labels = self._labels_of(id)
            frame.boxes, frame.names = labels.boxes, labels.names
        return frame

    def _cloud(self, id: str) -> Cloud:
        try:
            return read_cloud(self.clouds[id], self.description)
        except DataError as error:
            if "data." not in str(error):
                raise
            description = self.root / DESCRIPTION
            raise DataError(
                f"{error}; a folder of clouds has such settings in {description}, without 'data.'"
            ) from None

    def paths(self, index: int) -> list[Path]:
        """The cloud and dataset.yaml."""
        return [self.clouds[self.ids[index]], self.root / DESCRIPTION]

    def unlabelled(self) -> list[str]:
        """IDs of the frames without a label file."""
        return [id for id in self.ids if id not in self.labels]

    def frame_names(self) -> list[np.ndarray]:
        """Class names of each frame's objects; an unlabelled frame has none."""
        return [self._labels_of(id).names if id in self.labels else np.zeros(0, np.str_) for id in self.ids]

    def cloud_files(self) -> Iterable[Path]:
        """The clouds of all frames."""
        return (self.clouds[id] for id in self.ids)

    def label_bytes(self) -> Iterator[bytes]:
        """dataset.yaml and the label files of all frames."""
        yield read_bytes(self.root / DESCRIPTION)
        for id in self.ids:
            if id in self.labels:
                yield read_bytes(self.labels[id])

    def fingerprint(self) -> str:
        """A digest that changes with dataset.yaml, the frames and their files (size, time)."""
        digest = hashlib.sha256(read_bytes(self.root / DESCRIPTION))
        for id in self.ids:
            for path in (self.clouds[id], self.labels.get(id)):
                if path is not None:
                    status = path.resolve().stat()
                    digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def _labels_of(self, id: str) -> Labels:
        said = self.description
        return read_labels(self.labels[id], said.names, said.yaw, said.to_lidar)

    def _describe(self, config: CloudsConfig) -> DatasetFile:
        if not (self.root / DESCRIPTION).is_file():
            raise _missing(self.root)
        said = read_description(self.root)
        if config._described == self.root:
            for key in PointsConfig.model_fields:
                ours, theirs = getattr(config, key), getattr(said, key)
                if ours != theirs:
                    raise ConfigError(
                        f"'data.{key}': is {ours} here and {theirs} in {self.root / DESCRIPTION}; leave it out here, or"
                        " correct the file"
                    )
        unknown = next((name for name in config.classes if name not in said.classes), None)
        if unknown is not None:
            raise ConfigError(
                f"'data.classes': {self.root / DESCRIPTION} has no class '{unknown}'; use {', '.join(said.classes)}"
            )
        return said

    def _choose(self, split: str, config: CloudsConfig) -> list[str]:
        labelled = [id for id in self.clouds if id in self.labels]
        stray = next((id for id in self.labels if id not in self.clouds), None)
        if stray is not None:
            raise DataError(f"{self.labels[stray]}: there is no cloud points/{stray}.*; add or remove it")
        match split:
            case "all":
                return list(self.clouds)
            case "labelled":
                return labelled
            case "unlabelled":
                return [id for id in self.clouds if id not in self.labels]
        path = self.root / "splits" / f"{split}.txt"
        if path.is_file():
            return self._listed(path, split in (config.train_split, config.val_split))
        if split not in ("train", "val"):
            raise DataError(f"{path}: no such list; write a frame's name a line, or use train, val, labelled or all")
        if (self.root / "splits" / ("val.txt" if split == "train" else "train.txt")).is_file():
            raise DataError(f"{path}: missing, while the other list is there; write both, or neither")
        return self._drawn(labelled, split, config)

    def _listed(self, path: Path, needs_labels: bool) -> list[str]:
        ids = read_frame_list(path)
        for id in ids:
            if id not in self.clouds:
                raise DataError(f"{path}: frame {id} has no cloud in {self.root / 'points'}; add it or leave it out")
            if needs_labels and id not in self.labels:
                raise DataError(
                    f"{path}: frame {id} has no file in {self.root / 'labels'}; an empty one says that nothing is there"
                )
        return ids

    def _drawn(self, labelled: list[str], split: str, config: CloudsConfig) -> list[str]:
        """The frames of a split without a list: random blocks of consecutive frames."""
        if len(labelled) < 2:
            raise DataError(
                f"{self.root / 'labels'}: {len(labelled)} labelled frames; label some for train and for val"
            )
        size = max(1, min(_BLOCK, len(labelled) // _BLOCK))
        blocks = [labelled[start : start + size] for start in range(0, len(labelled), size)]
        order = np.random.default_rng(config.split_seed).permutation(len(blocks))
        count = min(max(1, round(config.val_share * len(blocks))), len(blocks) - 1)
        chosen = order[:count] if split == "val" else order[count:]
        ids = [id for block in np.sort(chosen) for id in blocks[block]]
        logger.warning(
            "%s: no list, so %d of %d labelled frames are drawn (data.val_share %g, data.split_seed %d, blocks of %d)",
            self.root / "splits" / f"{split}.txt", len(ids), len(labelled), config.val_share, config.split_seed, size,
        )  # fmt: skip
        return ids


def _missing(root: Path) -> DataError:
    """An error of one line that dataset.yaml is missing, with a guess at the first files and what to write."""
    clouds = _files(root / "points", SUFFIXES)
    if not clouds:
        return DataError(f"{root / 'points'}: holds no {', '.join(SUFFIXES)} file; put the clouds there")
    labels = _files(root / "labels", LABEL_SUFFIXES) if (root / "labels").is_dir() else {}
    path = next(iter(clouds.values()))
    rest = f"axes: x_forward, classes: [{', '.join(_names_in(labels.values()))}]"
    seen = likely(read_bytes(path)) if path.suffix.lower() == ".bin" else None
    if seen is not None:
        advice = f"{path.name} looks like {seen}; write columns and dtype, intensity: <its full scale>, {rest}"
    else:
        try:
            columns = read_columns(path, PointsConfig())
            scale = "<its full scale>" if "intensity" in columns else "none"
            advice = f"{path.name} has {', '.join(columns)[:100]}; write intensity: {scale}, {rest}"
        except MinkPDError:
            advice = f"write columns: <names of .bin columns>, intensity: <its full scale>, {rest}"
    return DataError(f"{root / DESCRIPTION}: missing; {advice}")


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder by name without suffix, ordered. Raises DataError for two files of the same name."""
    try:
        paths = sorted((folder / name for name in os.listdir(folder)), key=by_number)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); it must hold the clouds") from None
    found: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.name not in NO_LABELS:
            if path.stem in found:
                raise DataError(f"{path}: has the same name as {found[path.stem].name}; keep one of them")
            found[path.stem] = path
    return found


def _names_in(paths: Iterable[Path]) -> list[str]:
    """Names of classes in the first label files, for advice."""
    found: dict[str, None] = {}
    for path in list(paths)[:50]:
        if path.suffix.lower() == ".txt":
            lines = read_bytes(path).decode("utf-8", "replace").splitlines()
            found |= dict.fromkeys(words[7] for words in map(str.split, lines) if len(words) == 8)
    return list(found)[:20] or ["<names>"]
