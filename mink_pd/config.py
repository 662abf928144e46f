"""Typed configuration: YAML files with inheritance (``base: other.yaml``) and ``key=value`` overrides."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from mink_pd import config_methods
from mink_pd.config_models import PointPillarsConfig, SecondConfig
from mink_pd.config_pointrcnn import PointRCNNConfig
from mink_pd.config_section import Range, Section, Vector3
from mink_pd.errors import ConfigError


class ObjectNoise(Section):
    """Noise on single objects: shift [m, standard deviation along x, y, z] and rotation [rad, uniform]."""

    shift: Vector3 = (0.25, 0.25, 0.25)
    rotation: tuple[float, float] = (-0.15707963, 0.15707963)


class AugmentConfig(Section):
    """Augmentation of training frames; ``enabled: false`` switches all of it off."""

    enabled: bool = True
    ground_truth_sampling: dict[str, int] = Field(default_factory=dict)  # class -> objects a frame is filled up to
    sampling_min_points: int = Field(5, ge=1)
    flip: float = Field(0.5, ge=0, le=1)  # probability of mirroring y
    flip_x: float = Field(0.0, ge=0, le=1)  # of mirroring x, for sensors that see all around
    rotation: tuple[float, float] = (-0.78539816, 0.78539816)  # of the whole frame [rad]
    scaling: tuple[float, float] = (0.95, 1.05)
    object_noise: ObjectNoise | None = None


class DataConfig(Section):
    """Where frames come from and how they are read."""

    kind: Literal["kitti", "nuscenes"] = "kitti"
    root: Path = Path("data/kitti")
    version: str = "v1.0-trainval"  # nuScenes: folder of the tables
    sweeps: int = Field(10, ge=1)  # nuScenes: turns of the LiDAR joined a frame, the keyframe's own included
    train_split: str = "train"
    val_split: str = "val"
    max_frames: int | None = Field(None, ge=1)  # of the training split, None: all
    classes: list[str] = ["Car", "Pedestrian", "Cyclist"]
    range: Range = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)  # x, y, z from, x, y, z to [m]
    class_balanced: bool = False  # training frames repeated so that every class is in equally many (CBGS)
    camera_view: bool = True  # KITTI: keep only the points that the camera sees, as the benchmark's labels do
    workers: int = Field(1, ge=0)
    cache_mb: float = Field(1000, ge=0)  # memory for decoded training frames, all workers together; 0: read them anew
    augment: AugmentConfig = AugmentConfig()

    @property
    def point_features(self) -> int:
        """Columns of a point that a detector sees: x, y, z [m], intensity [0..1]; of nuScenes the time lag [s] too."""
        return 5 if self.kind == "nuscenes" else 4

    @property
    def has_velocities(self) -> bool:
        """Whether objects have velocities."""
        return self.kind == "nuscenes"


DETECTORS = ("pointpillars", "pointrcnn", "second")


def _detector_name(section: Any) -> str:
    """Which detector a model section is of: a section without a name describes PointPillars."""
    return section.get("name", "pointpillars") if isinstance(section, dict) else getattr(section, "name", "")


ModelConfig = Annotated[
    Annotated[PointPillarsConfig, Tag("pointpillars")]
    | Annotated[PointRCNNConfig, Tag("pointrcnn")]
    | Annotated[SecondConfig, Tag("second")],
    Discriminator(_detector_name),
]


class TrainConfig(Section):
    """Optimiser, schedule and what is written when."""

    epochs: int = Field(80, ge=1)
    batch_size: int = Field(4, ge=1)  # frames a process; a step sees batch_size x devices x nodes x accumulate
    accumulate: int = Field(1, ge=1)  # batches a step
    sync_norm: bool = False  # batch norm over the rows of all processes, else over each one's own
    learning_rate: float = Field(3e-3, gt=0)  # the peak of the one-cycle schedule
    weight_decay: float = Field(0.01, ge=0)
    warm_up: float = Field(0.4, gt=0, lt=1)  # share of the steps before the peak
    max_grad_norm: float = Field(10.0, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)  # decay of the moving average of the weights
    validate_every: int = Field(5, ge=0)  # epochs, 0: only after the last
    best_metric: str = "mAP_3d"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)  # processes a node
    nodes: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)  # of torch and OpenMP; None: all cores


class PointDistillerConfig(Section):
    """PointDistiller (Zhang et al., CVPR 2023, section 3)."""

    taps: list[str] = ["bev1", "bev2", "neck"]
    weight: float = Field(1.0, ge=0)
    rows: int = Field(64, ge=1)  # N, voxels selected a frame
    neighbours: int = Field(16, ge=1)  # K
    temperature: float = Field(1.0, gt=0)  # tau
    importance: Literal["points", "channel_max", "score"] = "score"
    normalise: bool = True  # divide the importance by its mean over the selected rows
    local_distillation: bool = True  # LD: graph features instead of the rows' own
    reweighting: bool = True  # RL: phi instead of 1
    edge: Literal["neighbour", "difference"] = "neighbour"  # [x_j ; x_i] or [x_i - x_j ; x_i]
    knn_space: Literal["coordinates", "features"] = "coordinates"
    teacher_adapter: Literal["trained", "frozen"] = "frozen"  # frozen: a fixed orthogonal map; trained: as published


class DistillConfig(Section):
    """Which methods distil, each with its own section (docs/methods.md), and the controls.

    control: what replaces the teacher's features; its importance stays. random: fresh weights; shuffled: its own rows
    in another order; averaged: control_share of its weights, the rest random.
    """

    methods: list[str] = ["pointdistiller"]
    taps: list[str] = ["bev1", "bev2", "neck"]  # of methods that compare features and name no taps of their own
    control: Literal["none", "random", "shuffled", "averaged"] = "none"
    control_share: float = Field(0.5, ge=0, le=1)
    initialise: Literal["random", "teacher"] = "random"  # the student; teacher: with a part of its weights
    pointdistiller: PointDistillerConfig = PointDistillerConfig()
    fitnets: config_methods.FitNetsConfig = config_methods.FitNetsConfig()
    attention_transfer: config_methods.AttentionTransferConfig = config_methods.AttentionTransferConfig()
    similarity: config_methods.SimilarityConfig = config_methods.SimilarityConfig()
    overhaul: config_methods.OverhaulConfig = config_methods.OverhaulConfig()
    fine_grained: config_methods.FineGrainedConfig = config_methods.FineGrainedConfig()
    attention_guided: config_methods.AttentionGuidedConfig = config_methods.AttentionGuidedConfig()
    localisation: config_methods.LocalisationConfig = config_methods.LocalisationConfig()
    logits: config_methods.LogitsConfig = config_methods.LogitsConfig()
    relational: config_methods.RelationalConfig = config_methods.RelationalConfig()
    sparsekd: config_methods.SparseKDConfig = config_methods.SparseKDConfig()


class Config(Section):
    """One experiment: everything that the result depends on."""

    name: str | None = None  # of the run folder; None: the file's name
    runs: Path = Path("runs")
    seed: int = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = PointPillarsConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()

    @model_validator(mode="after")
    def _model_fits_data(self) -> "Config":
        self.model.check(self.data.classes, self.data.has_velocities)
        return self


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML file, follow its ``base`` files, apply ``key=value`` overrides (dotted keys, YAML values).

    Raises ConfigError naming the key, the file and the nearest valid key.
    """
    path = Path(path)
    tree, origin = _read_tree(path, ())
    tree.setdefault("name", path.stem)
    for text in overrides or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"command line: '{text}' is not key=value; write for example train.epochs=10")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"command line: the value of '{key}' is not YAML: {value}") from None
        _set(tree, key, parsed)
        origin[key] = "command line"
    return validate(tree, origin, str(path))


def validate(tree: dict[str, Any], origin: dict[str, str], path: str) -> Config:
    """Check a tree of settings; ``origin`` says which file a dotted key came from."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, origin, path)) from None


def dump_config(config: Config) -> str:
    """The fully resolved configuration as YAML; ``load_config`` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_tree(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: 'base' comes back to the same file; remove the loop")
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a YAML file, as in configs/"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place else ""
        raise ConfigError(f"{path}: {line}not valid YAML; mend the file") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold keys and values, not a {type(tree).__name__}")
    base = tree.pop("base", None)
    origin = {key: str(path) for key in _leaves(tree)}
    if base is None:
        return tree, origin
    below: dict[str, Any] = {}
    below_origin: dict[str, str] = {}
    for file in base if isinstance(base, list) else [base]:  # a later file is laid over an earlier one
        more, more_origin = _read_tree(path.parent / file, (*seen, path.resolve()))
        below, below_origin = _merge(below, more), {**below_origin, **more_origin}
    return _merge(below, tree), {**below_origin, **origin}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both else value
    return result


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
    result = []
    for key, value in tree.items():
        result.append(f"{prefix}{key}")
        if isinstance(value, dict):
            result += _leaves(value, f"{prefix}{key}.")
    return result


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    tree[last] = value


def _explain(error: ValidationError, origin: dict[str, str], path: str) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    detector = "pointpillars"
    if location[:1] == ["model"] and set(location[1:2]) & set(DETECTORS):
        detector = location.pop(1)  # pydantic's word for which one it is; not a key
    if first["type"].startswith("union_tag"):
        location.append("name")
    key = ".".join(location)
    file = next(
        (origin[".".join(location[:n])] for n in range(len(location), 0, -1) if ".".join(location[:n]) in origin),
        path,
    )
    if first["type"] == "extra_forbidden":
        nearest = _nearest(key, detector)
        return f"{file}: unknown key '{key}'" + (
            f"; did you mean '{nearest}'?" if nearest else "; see mink_pd/config.py"
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"].startswith("union_tag"):
        message = f"must be one of {', '.join(DETECTORS)}"
    if not location:
        return f"{path}: {message}"
    shown = "" if first["type"] == "value_error" else f", got {first.get('ctx', {}).get('tag', first['input'])!r}"
    return f"{file}: '{key}': {message[0].lower()}{message[1:]}{shown}"


def _nearest(key: str, detector: str) -> str | None:
    keys = _leaves(Config.model_validate({"model": {"name": detector}}).model_dump())
    match = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    if match:
        return match[0]
    last = key.rsplit(".", 1)[-1]
    return next((k for k in keys if k.rsplit(".", 1)[-1] == last), None)
