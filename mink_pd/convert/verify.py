"""Our network against the answers of the framework that its weights come from, stage by stage."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mink_pd.config import Config, override
from mink_pd.config.points import PointsConfig
from mink_pd.convert.anchor_names import AnchorNames
from mink_pd.convert.case import Case
from mink_pd.convert.dialects import Dialect
from mink_pd.convert.weights import published_detector
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.data.points import read_points
from mink_pd.errors import CheckpointError, ConfigError
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


def verify(
    tensors: dict[str, Tensor], config: Config, dialect: Dialect, folder: Path, intensity: float = 1.0
) -> list[Difference]:
    """Run the detector of ``config`` with these weights on a case: points.bin and expected.npz in ``folder``.

    intensity: the largest of the points, which the weights take as 0..1.

    Compares all stages that the case has answers for. A case may set the range (``point_cloud_range``).
    Raises DataError for a case that cannot be read, CheckpointError for a case without answers to compare or with an
    array that is missing or not what it should be, and ConfigError for a detector without known answers.
    """
    case = Case(folder, config.model.name)
    if "point_cloud_range" in case:
        bounds = [round(float(x), 5) for x in case.numbers("point_cloud_range", 6)]
        try:
            config = override(config, [f"data.range={bounds}"])
        except ConfigError as error:
            raise CheckpointError(f"{case.path}: point_cloud_range does not fit the detector: {error}") from None
    detector = published_detector(config)
    if not isinstance(detector, AnchorDetector) or dialect.anchors is None:
        raise ConfigError(f"--verify compares PointPillars and SECOND, not {config.model.name}; leave it out")
    detector.load_state_dict(tensors)
    run = _run(detector.eval(), read_points(folder / "points.bin", PointsConfig(intensity=intensity)), intensity)
    answers = _Answers(case, dialect.anchors)
    found = [*answers.voxels(run), *answers.encoder(run), *answers.maps(run), *answers.boxes(run)]
    differences = [one for one in found if one.compared or not one.agrees]  # an empty array is no answer
    if not differences:
        raise CheckpointError(
            f"{case.path}: has no answer that this detector gives; docs/published_weights.md names what is compared"
        )
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
def _run(detector: AnchorDetector, points: np.ndarray, intensity: float) -> _Run:
    """Run a detector on points whose intensities were divided by ``intensity``, and keep what its parts give."""
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
        means, encoded = inputs[0].F, features
        features = means * means.new_tensor([intensity if column == 3 else 1 for column in range(means.shape[1])])
    return _Run(detector, voxels, features, encoded, kept["bev"][1], prediction)


class _Answers:
    """The arrays of a case, compared with a run. Names and orders are those of the case's README."""

    def __init__(self, case: Case, names: AnchorNames) -> None:
        self.case, self.names = case, names

    def voxels(self, run: _Run) -> Iterator[Difference]:
        """Voxels, and their features in the case's order."""
        if "voxel_coords" not in self.case:
            return
        ours = run.voxels.coordinates[:, 1:].clone()  # (M, D)
        if run.voxels.coordinates.shape[1] == 4:
            ours[:, 2] -= run.detector.encoder.first_cell[2]
        wanted = self.case.numbers("voxel_coords", -1, 3)[:, ::-1][:, : ours.shape[1]]  # x, y[, z]
        yield from self._sites("voxel_coords", ours, wanted)
        for name in ("voxel_features", "pillar_features", "pillar_features_legacy"):
            if name in self.case:
                yield from self._rows(name, ours, run.features, wanted)

    def encoder(self, run: _Run) -> Iterator[Difference]:
        """Sites and features of the sparse encoder's stages."""
        encoder = run.detector.encoder
        if not isinstance(encoder, SparseEncoder):
            return
        names = [f"x_conv{i + 1}" for i in range(4)] + ["encoded_spconv_tensor"]
        for name, tensor in zip(names, run.encoded, strict=True):
            if f"{name}_coords" not in self.case:
                continue
            stride = torch.tensor(tensor.tensor_stride)
            low = torch.tensor(encoder.bounds(tuple(tensor.tensor_stride))[0])
            ours = torch.div(tensor.C[:, 1:] - low, stride, rounding_mode="floor")
            wanted = self.case.numbers(f"{name}_coords", -1, 3)[:, ::-1]
            yield from self._sites(f"{name}_coords", ours, wanted)
            yield from self._rows(f"{name}_features", ours, tensor.F, wanted)

    def maps(self, run: _Run) -> Iterator[Difference]:
        """The neck and the head's three maps."""
        height, width = run.grid
        neck = run.bev.levels[0].cells.view(height, width, -1)
        for name in self.case.names:
            if match := re.fullmatch(r"spatial_features_2d_sub([1-9]\d?)", name):
                step = int(match[1])
                yield self._numbers(name, neck[::step, ::step].permute(2, 0, 1), self.case.numbers(name, -1, -1, -1))
        prediction = run.prediction
        for name, values in (
            ("cls_preds", prediction.scores),
            ("box_preds", prediction.boxes),
            ("dir_cls_preds", prediction.directions),
        ):
            if name in self.case:
                wanted = self.case.numbers(name, -1, -1, -1)
                whole = values.reshape(height, width, -1)
                if len(wanted) < height and (rows := self.case.rows()) is not None:
                    whole = _rows_at(whole, rows)
                yield self._numbers(name, whole, wanted)

    def boxes(self, run: _Run) -> Iterator[Difference]:
        """Anchors and decoded boxes, in the case's height convention."""
        prediction = run.prediction
        anchors = prediction.anchors.flatten(0, 1)  # (S * A, 7), order y, x, class, heading
        offset = run.detector.settings.head.direction_offset
        boxes = decoded_boxes(prediction.boxes.flatten(0, 1), prediction.directions.flatten(0, 1), anchors, offset)
        if self.names.box_z == "bottom":
            anchors, boxes = (torch.cat([x[:, :2], x[:, 2:3] - x[:, 5:6] / 2, x[:, 3:]], 1) for x in (anchors, boxes))
        case = self.case
        if "anchors" in case:
            yield self._numbers("anchors", anchors, case.numbers("anchors", -1, 7))
        if "anchor_sample" in case:
            chosen = case.index("anchor_sample_index")
            yield self._numbers("anchor_sample", _rows_at(anchors, chosen), case.numbers("anchor_sample", -1, 7))
        if "decoded_sample_box7" in case:
            index = "decoded_sample_index" if "decoded_sample_index" in case else "anchor_sample_index"
            yield self._boxes("decoded_sample", _rows_at(boxes, case.index(index)))
        if any(f"top100_{name}" in case for name in ("box7", "score", "label")):
            yield from self._top100(boxes, torch.sigmoid(prediction.scores.flatten(0, 1)))

    def _top100(self, boxes: Tensor, scores: Tensor) -> Iterator[Difference]:
        """The best anchors among boxes (N, 7) and scores (N, classes)."""
        chosen = self.case.index("top100_anchor_index")
        if "top100_box7" in self.case:
            yield self._boxes("top100", _rows_at(boxes, chosen))
        score, label = _rows_at(scores, chosen).max(dim=1)
        for name, ours in (("top100_score", score), ("top100_label", label + self.names.first_label)):
            if name in self.case:
                yield self._numbers(name, ours, self.case.numbers(name, -1))

    def _boxes(self, name: str, ours: Tensor) -> Difference:
        """Boxes (N, 7), without the angles that stand at the direction step's jump."""
        wanted = self.case.numbers(f"{name}_box7", len(ours), 7).astype(np.float64)
        at_jump = self.case.numbers(f"{name}_fold_margin", len(ours)) < _FOLD
        wanted[at_jump, 6] = ours[at_jump, 6].numpy()
        return self._numbers(f"{name}_box7", ours, wanted)

    @staticmethod
    def _sites(name: str, ours: Tensor, wanted: np.ndarray) -> Iterator[Difference]:
        own, theirs = ({tuple(row) for row in rows.tolist()} for rows in (ours, wanted))
        yield Difference(name, len(theirs), len(own ^ theirs), sites=True)

    def _rows(self, name: str, ours: Tensor, features: Tensor, wanted: np.ndarray) -> Iterator[Difference]:
        """Features of the sites that both have."""
        values = self.case.numbers(name, len(wanted), -1)
        row_of = {tuple(row): index for index, row in enumerate(ours.tolist())}
        pairs = [(row_of[site], index) for index, row in enumerate(wanted.tolist()) if (site := tuple(row)) in row_of]
        if pairs:
            own, theirs = np.array(pairs).T
            yield self._numbers(name, features[own], values[theirs])

    @staticmethod
    def _numbers(name: str, ours: Tensor, wanted: np.ndarray) -> Difference:
        if tuple(ours.shape) != wanted.shape:
            return Difference(f"{name}, ours {tuple(ours.shape)} for {wanted.shape}", wanted.size, float("inf"))
        distance = np.abs(ours.numpy().astype(np.float64) - wanted.astype(np.float64))
        return Difference(name, wanted.size, float(distance.max()) if distance.size else 0.0)


def _rows_at(values: Tensor, index: np.ndarray) -> Tensor:
    """Rows of values (M, ...) at index (n,): infinite where a smaller grid than the case's has none."""
    there = index < len(values)
    rows = values[torch.from_numpy(np.where(there, index, 0))]
    rows[torch.from_numpy(~there)] = torch.inf
    return rows
