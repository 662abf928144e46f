"""SECOND compared with its parts: the encoder as in the rows `encoder-*`, and the bird's-eye-view part after it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.agreement import same
from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows import encoder
from benchmarks.rows.detectors import settled
from benchmarks.rows.row import Row
from benchmarks.thread_counts import OURS
from mink_pd.config import Config
from mink_pd.config.models import SecondConfig
from mink_pd.models import AnchorPrediction, build_detector
from mink_pd.models.detectors.second import Second
from mink_pd.sparse import ME, Voxels
from mink_pd.sparse.kernel_map import insert_sites
from mink_pd.sparse.minkowski import make_sparse
from mink_pd.sparse.voxels import coordinate_map


def second_forward(inputs: Inputs) -> Pair:
    batch = inputs.batch()
    torch.manual_seed(0)
    detector: Any = settled(build_detector(config(inputs)), batch)
    alone, scene = encoder.networks(encoder.voxels(inputs))[0].eval(), encoder.voxels(inputs)
    above = from_above(detector, batch)

    @torch.inference_mode()
    def whole() -> AnchorPrediction:
        return detector(batch)

    @torch.inference_mode()
    def parts() -> AnchorPrediction:
        alone(scene.tensor())
        return detector.predict(*above.fresh())

    def check() -> None:
        same(whole().scores, parts().scores, "scores")

    notes = [f"{len(scene.features)} voxels, {len(above.features)} cells seen from above, of {inputs.description}"]
    return Pair(Side(whole, OURS), Side(parts, OURS), check, notes=notes)


def config(inputs: Inputs) -> Config:
    """configs/second_kitti.yaml, which has the defaults of its model, with the range of the encoder's rows."""
    data = inputs.config.data.model_copy(update={"range": encoder.BOUNDS})
    return inputs.config.model_copy(update={"data": data, "model": SecondConfig()})


@dataclass
class FromAbove:
    """The input of SECOND's bird's-eye-view part: coordinates (S, 3) and features (S, C) at a stride, and columns."""

    coordinates: Tensor
    features: Tensor
    stride: list[int]
    columns: Voxels

    def fresh(self) -> tuple["ME.SparseTensor", Voxels]:
        """The input on its own coordinate manager, because a new frame has new kernel maps."""
        manager, key, _ = coordinate_map(self.columns.coordinates, dimensions=2)
        columns = replace(self.columns, manager=manager, key=key, sites={})
        own = insert_sites(manager, self.coordinates, self.stride, "above")
        return make_sparse(self.features, own, manager), columns


def from_above(detector: Second, batch: Any) -> FromAbove:
    """The input that the part receives in a run of the whole detector."""
    kept: list[Any] = []
    hook = detector.bev.register_forward_hook(lambda module, given, output: kept.append(given))
    with torch.inference_mode():
        detector(batch)
    hook.remove()
    x, columns = kept[0]
    return FromAbove(x.C, x.F, x.tensor_stride, columns)


# The parts leave out voxels, their means and the stacking of heights, about 2 % of the whole.
ROWS = [
    Row("second-forward", "SECOND, full size, points to predictions", "its encoder alone, then all that follows", 0.95,
        second_forward),
]  # fmt: skip
