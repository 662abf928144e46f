"""Tensors of another framework -> tensors of our detector, all of them or none."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.convert.dialects import Dialect
from mink_pd.convert.intensity import largest_intensity, rescale_intensity
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.models import Detector, build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.detectors.pointrcnn import PointRCNN
from mink_pd.models.layers.bev import DenseBev
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import ConvBlock

# Counters of the training, and the adapters of PointDistiller: no part of the detector.
_TRAINING_ONLY = re.compile(r"global_step$|(teacher|student)_gcn_adapt\.")


@dataclass(frozen=True)
class Misfit:
    """A tensor by its name in the file; its shape there and ours in the configured detector, None where it is not."""

    name: str
    in_file: torch.Size | None
    ours: torch.Size | None

    @property
    def kind(self) -> str:
        return "missing" if self.in_file is None else "unexpected" if self.ours is None else "misshapen"


class MisfitError(CheckpointError):
    """A checkpoint's tensors are not those of the configured detector; ``misfits`` are all that differ."""

    def __init__(self, file: str, misfits: list[Misfit], advice: str) -> None:
        self.misfits = misfits
        kinds: dict[str, list[str]] = {}
        for misfit in misfits:
            kinds.setdefault(misfit.kind, []).append(misfit.name)
        counts = ", ".join(
            f"{len(names)} {kind} ({names[0]}{', ...' * (len(names) > 1)})" for kind, names in kinds.items()
        )
        super().__init__(f"{file}: its tensors are not those of the configured detector: {counts}; {advice}")


def serves_training(name: str) -> bool:
    """Whether a tensor of a file has no part in detection."""
    return _TRAINING_ONLY.match(name) is not None


def is_counter(name: str) -> bool:
    """Whether a tensor counts the batches of a batch norm."""
    return name.endswith(".num_batches_tracked")


def published_detector(config: Config) -> Detector:
    """The detector of ``config``. Raises ConfigError where no weights are published for its form."""
    detector, wanted = build_detector(config), None
    if isinstance(detector, BevDetector) and not isinstance(detector.bev, DenseBev):
        wanted = "model.bev=dense"
    if isinstance(detector, PointRCNN) and "bins" in (detector.settings.box_coder, detector.settings.roi.box_coder):
        wanted = "model.box_coder=residual"
    if wanted is not None:  # and more than this key, so the advice is not to set it alone
        name = config.model.name
        raise ConfigError(
            f"model: published weights of {name} are for {wanted}; use --config published/FORMAT_{name}, or one with it"
            " as its base"
        )
    return detector


def convert(
    tensors: dict[str, Tensor], detector: Detector, dialect: Dialect, file: str, intensity: float | None = None
) -> dict[str, Tensor]:
    """The state dict of ``detector`` from the tensors of a checkpoint ``file``.

    intensity: the largest that the weights were trained with; None: :func:`largest_intensity` of the data set.

    A bias before a norm, which ours have not, is taken from the running mean: in evaluation that is the same, and in
    training the norm takes any bias out. Counters of batches that are missing begin at 0: PyTorch before 0.4.1 had
    none, and no network computes with them. Raises MisfitError, which lists every other tensor that is missing, and
    those that are unexpected or of another shape.
    """
    found = {name: tensor for name, tensor in tensors.items() if not serves_training(name)}
    wanted = detector.state_dict()
    result: dict[str, Tensor] = {}
    misfits = []
    for theirs, ours in dialect.modules(detector):
        for name in [name for name in wanted if name.rpartition(".")[0] == ours]:
            entry = f"{theirs}.{name.rpartition('.')[2].replace('kernel', 'weight')}"
            tensor = found.pop(entry, None)
            if tensor is None and is_counter(name):
                tensor = torch.zeros_like(wanted[name])
            fitting = None if tensor is None else _fit(tensor, name, wanted[name], detector, dialect)
            if fitting is None:
                misfits.append(Misfit(entry, None if tensor is None else tensor.shape, wanted[name].shape))
            else:
                result[name] = fitting
    for entry, mean in dialect.biases(detector, found):
        bias = found.pop(entry, None)
        if bias is None or bias.shape != wanted[mean].shape:
            misfits.append(Misfit(entry, None if bias is None else bias.shape, wanted[mean].shape))
        elif mean in result:
            result[mean] -= bias
    misfits += [Misfit(name, tensor.shape, None) for name, tensor in found.items()]
    if misfits:
        raise MisfitError(file, misfits, _advice(tensors, dialect))
    assert result.keys() == wanted.keys(), "the dialect must name every module of the detector"
    rescale_intensity(result, detector, largest_intensity(detector.config) if intensity is None else intensity)
    return result


def _fit(tensor: Tensor, name: str, wanted: Tensor, detector: Detector, dialect: Dialect) -> Tensor | None:
    """The tensor in our layout and for our kinds of numbers, or None if its shape is wrong; ``name`` is ours."""
    module = detector.get_submodule(name.rpartition(".")[0])
    parent = detector.get_submodule(".".join(name.split(".")[:-2]))
    legacy = isinstance(detector, AnchorDetector) and dialect.anchors is not None and dialect.anchors.legacy_pillars
    if isinstance(parent, ConvBlock) and tensor.dim() == 5:
        tensor = _sparse_kernel(tensor, wanted)
    elif isinstance(parent, PillarFeatureNet) and tensor.dim() == 2 and legacy:
        tensor = _without_legacy_channels(tensor)
    elif isinstance(module, nn.Linear) and tensor.dim() > 2 and tensor.shape[2:].numel() == 1:
        tensor = tensor.flatten(1)  # a convolution of kernel 1
    tensor = dialect.adapt(detector, name, tensor)
    return tensor.clone() if tensor.shape == wanted.shape else None


def _sparse_kernel(tensor: Tensor, wanted: Tensor) -> Tensor:
    """A kernel of spconv 1, (z, y, x, in, out), or 2, (out, z, y, x, in), as ours: (z * y * x, in, out), x fastest.

    No layer has as few channels as a kernel is wide, so the shape says which of them it is.
    """
    volume, channels_in, channels_out = wanted.shape
    if tensor.shape[0] == channels_out and tensor.shape[4] == channels_in and tensor.shape[1:4].numel() == volume:
        tensor = tensor.permute(1, 2, 3, 4, 0)
    return tensor.flatten(0, 2)


def _without_legacy_channels(weight: Tensor) -> Tensor:
    """The linear map (C, 10) on MMDetection3D's legacy channels as one on x, y, z, intensity, xyz - mean, xyz - centre.

    There the first three are the offset to the centre again, so their weights belong to the last three.
    """
    if weight.shape[1] != 10:
        return weight
    centre, intensity, mean, more = weight.split([3, 1, 3, 3], dim=1)
    return torch.cat([torch.zeros_like(centre), intensity, mean, centre + more], dim=1)


def _advice(tensors: dict[str, Tensor], dialect: Dialect) -> str:
    linear = None if dialect.anchors is None else tensors.get(f"{dialect.anchors.pillars}.linear.weight")
    if linear is not None and linear.shape[-1:] == (9,):
        return "9 pillar channels: MMDetection3D before 1.0, whose boxes have another yaw and order of sizes"
    return "give the configuration it was trained with (configs/published; model.compression for a student)"
