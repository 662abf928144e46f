"""Parameter names that a framework's bird's-eye-view detectors share, independent of their heads."""

from collections.abc import Iterator

from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.layers.sparse_encoder import SparseEncoder

Names = Iterator[tuple[str, str]]  # of modules with weights: theirs, ours


def numbered_block(theirs: str, ours: str, first: int = 0) -> Names:
    """A convolution and its norm, which take numbers from ``first`` on in a sequence."""
    yield f"{theirs}.{first}", f"{ours}.convolution"
    yield f"{theirs}.{first + 1}", f"{ours}.norm"


def backbone_names(detector: BevDetector, blocks: str, first: int, neck: str) -> Names:
    """Stages and neck. ``first``: the number of the first convolution in a stage, after which convolution, norm and
    ReLU take one each."""
    for stage, more in enumerate(detector.settings.layers):
        for index in range(1 + more):
            yield from numbered_block(f"{blocks}.{stage}", f"bev.backbone.{stage}.{index}", first + 3 * index)
        yield from numbered_block(f"{neck}.{stage}", f"bev.neck.{stage}")


def plain_encoder_names(encoder: SparseEncoder, name: str, stage: str) -> Names:
    """SECOND's encoder, without residual blocks: ``name`` of the whole, ``stage`` of a stage but for its number."""
    yield from numbered_block(f"{name}.conv_input", "encoder.first.0")
    yield from numbered_block(f"{stage}1.0", "encoder.first.1")
    for number in range(len(encoder.down)):
        theirs = f"{stage}{number + 2}"
        yield from numbered_block(f"{theirs}.0", f"encoder.down.{number}")
        yield from numbered_block(f"{theirs}.1", f"encoder.same.{number}.0")
        yield from numbered_block(f"{theirs}.2", f"encoder.same.{number}.1")
    yield from numbered_block(f"{name}.conv_out", "encoder.height")
