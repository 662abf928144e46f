"""Our network against the answers of the framework that its weights come from, stage by stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.convert.anchor_names import AnchorNames
from mink_pd.convert.dialects import Dialect
from mink_pd.convert.weights import published_detector
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.data.points import read_points
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.files import reading
from mink_pd.models import AnchorPrediction
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.heads.anchor_decode import decoded_boxes
from mink_pd.models.layers.bev import BevFeatures
from mink_pd.models.layers.sparse_encoder import SparseEncoder
from mink_pd.sparse import ME, Voxels

TOLERANCE = 1e-3
_FOLD = 1e-3  # rad: an angle this near to the jump of the direction step may fall on either side


@dataclass(frozen=True)
class Difference:
    """stage: as the case names it; compared: how many numbers or sites; largest: absolute difference of any number,
    or how many sites only one of the two networks has."""

    stage: str
    compared: int
    largest: float
    sites: bool = False

    @property
    def agrees(self) -> bool:
        return self.largest == 0 if self.sites else self.largest <= TOLERANCE


def verify(tensors: dict[str, Tensor], config: Config, dialect: Dialect, folder: Path) -> list[Difference]:
    """Run the detector of ``config`` with these weights on a case: points.bin and expected.npz in ``folder``.

    Compares all stages that the case has answers for. A case may set the range (``point_cloud_range``).
    Raises DataError for a case that cannot be read, CheckpointError for a case without answers to compare, and
    ConfigError for a detector without known answers.
    """
    expected = _read_case(folder)
    if "point_cloud_range" in expected:
        bounds = tuple(round(float(x), 5) for x in expected["point_cloud_range"])
        config = config.model_copy(update={"data": config.data.model_copy(update={"range": bounds})})
    detector = published_detector(config)
    if not isinstance(detector, AnchorDetector) or dialect.anchors is None:
        raise ConfigError(f"--verify compares PointPillars and SECOND, not {config.model.name}; leave it out")
    detector.load_state_dict(tensors)
    run = _run(detector.eval(), read_points(folder / "points.bin"))
    answers = _Answers(expected, dialect.anchors)
    differences = [*answers.voxels(run), *answers.encoder(run), *answers.maps(run), *answers.boxes(run)]
    if not differences:
        raise CheckpointError(f"{folder}: its expected.npz has no answer that this detector gives")
    return differences


@dataclass
class _Run:
    """One pass of a detector over one frame."""

    detector: AnchorDetector
    voxels: Voxels
    features: Tensor  # (M, C) of the voxels
    encoded: list["ME.SparseTensor"]
    bev: BevFeatures
    prediction: AnchorPrediction

    @property
    def grid(self) -> tuple[int, int]:
        """Cells of the head's map along y and x."""
        level = self.bev.levels[0]
        row, column = (level.coordinates[:, axis].max() // level.stride + 1 for axis in (2, 1))
        return int(row), int(column)


@torch.inference_mode()
def _run(detector: AnchorDetector, points: np.ndarray) -> _Run:
    """Run a detector and keep what its parts give."""
    kept: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: kept.update({name: (inputs, output)})

    hooks = [module.register_forward_hook(keep(name)) for name, module in detector.named_children()]
    try:
        batch = collate([Frame("case", points)], detector.classes)
        voxels = detector.shared_input(batch)
        prediction = detector(batch, voxels)
    finally:
        for hook in hooks:
            hook.remove()
    inputs, features = kept["encoder"]
    encoded: list[Any] = []
    if isinstance(detector.encoder, SparseEncoder):
        features, encoded = inputs[0].F, features
    return _Run(detector, voxels, features, encoded, kept["bev"][1], prediction)


class _Answers:
    """The arrays of a case, compared with a run. Names and orders are those of the case's README."""

    def __init__(self, expected: dict[str, np.ndarray], names: AnchorNames) -> None:
        self.expected, self.names = expected, names

    def voxels(self, run: _Run) -> Iterator[Difference]:
        """Voxels, and their features in the case's order."""
        if "voxel_coords" not in self.expected:
            return
        ours = run.voxels.coordinates[:, 1:].clone()  # (M, D)
        if run.voxels.coordinates.shape[1] == 4:
            ours[:, 2] -= run.detector.encoder.first_cell[2]
        wanted = self.expected["voxel_coords"][:, ::-1][:, : ours.shape[1]]  # x, y[, z]
        yield from self._sites("voxel_coords", ours, wanted)
        for name in ("voxel_features", "pillar_features", "pillar_features_legacy"):
            if name in self.expected:
                yield from self._rows(name, ours, run.features, wanted, self.expected[name])

    def encoder(self, run: _Run) -> Iterator[Difference]:
        """Sites and features of the sparse encoder's stages."""
        encoder = run.detector.encoder
        if not isinstance(encoder, SparseEncoder):
            return
        names = [f"x_conv{i + 1}" for i in range(4)] + ["encoded_spconv_tensor"]
        for name, tensor in zip(names, run.encoded, strict=True):
            if f"{name}_coords" not in self.expected:
                continue
            stride = torch.tensor(tensor.tensor_stride)
            low = torch.tensor(encoder.bounds(tuple(tensor.tensor_stride))[0])
            ours = torch.div(tensor.C[:, 1:] - low, stride, rounding_mode="floor")
            wanted = self.expected[f"{name}_coords"][:, ::-1]
            yield from self._sites(f"{name}_coords", ours, wanted)
            yield from self._rows(f"{name}_features", ours, tensor.F, wanted, self.expected[f"{name}_features"])

    def maps(self, run: _Run) -> Iterator[Difference]:
        """The neck and the head's three maps."""
        height, width = run.grid
        neck = run.bev.levels[0].cells.view(height, width, -1)
        for name in self.expected:
            if name.startswith("spatial_features_2d_sub"):
                step = int(name.removeprefix("spatial_features_2d_sub"))
                yield self._numbers(name, neck[::step, ::step].permute(2, 0, 1), self.expected[name])
        prediction = run.prediction
        for name, values in (
            ("cls_preds", prediction.scores),
            ("box_preds", prediction.boxes),
            ("dir_cls_preds", prediction.directions),
        ):
            if name in self.expected:
                wanted = self.expected[name]
                whole = values.reshape(height, width, -1)
                if len(wanted) < height and "box_preds_rows" in self.expected:
                    whole = _rows_at(whole, self.expected["box_preds_rows"])
                yield self._numbers(name, whole, wanted)

    def boxes(self, run: _Run) -> Iterator[Difference]:
        """Anchors and decoded boxes, in the case's height convention."""
        prediction = run.prediction
        anchors = prediction.anchors.flatten(0, 1)  # (S * A, 7), order y, x, class, heading
        offset = run.detector.settings.head.direction_offset
        boxes = decoded_boxes(prediction.boxes.flatten(0, 1), prediction.directions.flatten(0, 1), anchors, offset)
        if self.names.box_z == "bottom":
            anchors, boxes = (torch.cat([x[:, :2], x[:, 2:3] - x[:, 5:6] / 2, x[:, 3:]], 1) for x in (anchors, boxes))
        if "anchors" in self.expected:
            yield self._numbers("anchors", anchors, self.expected["anchors"])
        if "anchor_sample" in self.expected:
            chosen = self.expected["anchor_sample_index"]
            yield self._numbers("anchor_sample", _rows_at(anchors, chosen), self.expected["anchor_sample"])
        if "decoded_sample_box7" in self.expected:
            index = "decoded_sample_index" if "decoded_sample_index" in self.expected else "anchor_sample_index"
            yield self._boxes("decoded_sample", _rows_at(boxes, self.expected[index]))
        if "top100_box7" in self.expected:
            chosen = self.expected["top100_anchor_index"]
            yield self._boxes("top100", _rows_at(boxes, chosen))
            score, label = torch.sigmoid(_rows_at(prediction.scores.flatten(0, 1), chosen)).max(dim=1)
            yield self._numbers("top100_score", score, self.expected["top100_score"])
            yield self._numbers("top100_label", label + self.names.first_label, self.expected["top100_label"])

    def _boxes(self, name: str, ours: Tensor) -> Difference:
        """Boxes (N, 7), without the angles that stand at the direction step's jump."""
        wanted = self.expected[f"{name}_box7"].copy()
        at_jump = self.expected[f"{name}_fold_margin"] < _FOLD
        wanted[at_jump, 6] = ours[at_jump, 6].numpy()
        return self._numbers(f"{name}_box7", ours, wanted)

    @staticmethod
    def _sites(name: str, ours: Tensor, wanted: np.ndarray) -> Iterator[Difference]:
        own, theirs = ({tuple(row) for row in rows.tolist()} for rows in (ours, wanted))
        yield Difference(name, len(theirs), len(own ^ theirs), sites=True)

    def _rows(
        self, name: str, ours: Tensor, features: Tensor, wanted: np.ndarray, values: np.ndarray
    ) -> Iterator[Difference]:
        """Features of the sites that both have."""
        row_of = {tuple(row): index for index, row in enumerate(ours.tolist())}
        pairs = [(row_of[site], index) for index, row in enumerate(wanted.tolist()) if (site := tuple(row)) in row_of]
        if pairs:
            own, theirs = np.array(pairs).T
            yield self._numbers(name, features[own], values[theirs])

    @staticmethod
    def _numbers(name: str, ours: Tensor, wanted: np.ndarray) -> Difference:
        if tuple(ours.shape) != wanted.shape:
            return Difference(f"{name}, ours {tuple(ours.shape)} for {wanted.shape}", wanted.size, float("inf"))
        distance = np.abs(ours.numpy().astype(np.float64) - wanted)
        return Difference(name, wanted.size, float(distance.max()) if distance.size else 0.0)


def _rows_at(values: Tensor, index: np.ndarray) -> Tensor:
    """Rows of values (M, ...) at index (n,): infinite where a smaller grid than the case's has none."""
    there = index < len(values)
    rows = values[torch.from_numpy(np.where(there, index, 0))]
    rows[torch.from_numpy(~there)] = torch.inf
    return rows


def _read_case(folder: Path) -> dict[str, np.ndarray]:
    path = folder / "expected.npz"
    with reading(path, remedy="give a folder with points.bin and expected.npz"), np.load(path) as file:
        return {name: file[name] for name in file.files}
