"""A sparse 3D encoder of SECOND's size, built with the layers of three libraries: ours, MinkowskiEngine's and spconv's.

With ours and MinkowskiEngine's, every run starts from the coordinates of a frame, because a new frame has new kernel
maps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.agreement import GRADIENT_TOLERANCE, same, same_rows
from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows.row import INSTALL_SPCONV, Row, peer_module
from benchmarks.thread_counts import CORES, COUNTS, OURS, Threads, best_of, milliseconds
from mink_pd.memory import keep_memory
from mink_pd.sparse import ME, ConvBlock, segment_mean, voxelise
from mink_pd.sparse.layers import EPSILON, MOMENTUM
from mink_pd.sparse.minkowski import make_sparse
from mink_pd.sparse.voxels import coordinate_map

VOXEL = (0.05, 0.05, 0.1)  # [m], SECOND's
BOUNDS = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)  # [m]
SHAPE = (49, 1601, 1409)  # z, y, x for spconv: odd, so that padding 1 loses no site that MinkowskiEngine keeps
STOCK = "MinkowskiEngine 0.5.4, its best threads"


@dataclass(frozen=True)
class Layer:
    """One convolution with batch norm and ReLU; edge and stride along x, y, z. Layers with the same ``level`` and
    stride 1 share a kernel map."""

    channels_in: int
    channels_out: int
    edge: tuple[int, int, int] = (3, 3, 3)
    stride: tuple[int, int, int] = (1, 1, 1)
    level: int = 0


def layers() -> list[Layer]:
    """SECOND's middle encoder (Yan et al. 2018, section 3.1.2, in the form now in use): 16-16-32-64-64, three stages
    of stride 2 with two submanifold convolutions each, and a final stride of 2 along z."""
    result = [Layer(4, 16), Layer(16, 16)]
    for level, (before, after) in enumerate(((16, 32), (32, 64), (64, 64)), start=1):
        result.append(Layer(before, after, stride=(2, 2, 2), level=level))
        result += [Layer(after, after, level=level)] * 2
    return [*result, Layer(64, 64, edge=(1, 1, 3), stride=(1, 1, 2), level=4)]


class Ours(nn.Module):
    """Over ``mink_pd.sparse``."""

    blocks: Any

    def __init__(self, grow: bool = True) -> None:
        super().__init__()
        block: Any = ConvBlock  # whose edge and stride may differ by axis, as MinkowskiEngine's may
        self.blocks = nn.Sequential(*(
            block(
                x.channels_in, x.channels_out, list(x.edge), list(x.stride),
                dimension=3, grow=grow and max(x.stride) > 1,
            )
            for x in layers()
        ))  # fmt: skip

    def forward(self, x: "ME.SparseTensor") -> "ME.SparseTensor":
        return self.blocks(x)


class Stock(nn.Module):
    """Built with MinkowskiEngine's own layers."""

    blocks: Any

    def __init__(self, grow: bool = True) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(
            nn.Sequential(
                ME.MinkowskiConvolution(
                    x.channels_in, x.channels_out, list(x.edge), list(x.stride),
                    dimension=3, expand_coordinates=grow and max(x.stride) > 1,
                ),
                ME.MinkowskiBatchNorm(x.channels_out, eps=EPSILON, momentum=MOMENTUM),
                ME.MinkowskiReLU(inplace=True),
            )
            for x in layers()
        ))  # fmt: skip

    def forward(self, x: "ME.SparseTensor") -> "ME.SparseTensor":
        return self.blocks(x)

    def take(self, ours: Ours) -> None:
        """Copy the parameters and statistics of ours."""
        for (convolution, norm, _), block in zip(self.blocks, ours.blocks, strict=True):
            convolution.kernel.data.copy_(block.convolution.kernel.data)
            norm.bn.load_state_dict(block.norm.state_dict())


def spconv_network(spconv: Any, ours: Ours) -> nn.Module:
    """Built with spconv's layers, with the parameters of ours."""
    modules: list[nn.Module] = []
    for x, block in zip(layers(), ours.blocks, strict=True):
        edge, stride = x.edge[::-1], x.stride[::-1]  # spconv's axes are z, y, x
        padding = [n // 2 for n in edge]
        if max(stride) > 1:
            layer = spconv.SparseConv3d(x.channels_in, x.channels_out, edge, stride, padding, bias=False)
        else:
            layer = spconv.SubMConv3d(
                x.channels_in, x.channels_out, edge, padding=padding, bias=False, indice_key=f"level{x.level}"
            )
        kernel = block.convolution.kernel.detach().reshape(*edge, x.channels_in, x.channels_out)  # z, y, x, in, out
        layer.weight.data.copy_(kernel.permute(4, 0, 1, 2, 3))
        norm = nn.BatchNorm1d(x.channels_out, eps=EPSILON, momentum=MOMENTUM)
        norm.load_state_dict(block.norm.state_dict())
        modules += [layer, norm, nn.ReLU(inplace=True)]
    return spconv.SparseSequential(*modules)


@dataclass
class Scene:
    """Occupied voxels (M, 4) int32, frame first, and the mean of the points in each (M, 4)."""

    coordinates: Tensor
    features: Tensor

    def tensor(self) -> "ME.SparseTensor":
        """The scene on its own coordinate manager."""
        manager, key, _ = coordinate_map(self.coordinates, dimensions=3)
        return make_sparse(self.features, key, manager)


def voxels(inputs: Inputs) -> Scene:
    batch = inputs.batch()
    found = voxelise(batch.points, batch.frame, 1, VOXEL, BOUNDS, dimensions=3)
    return Scene(found.coordinates, segment_mean(found.points[:, :4], found.rows, found.counts))


def networks(scene: Scene, grow: bool = True) -> tuple[Ours, Stock]:
    """Both encoders with the same parameters, and with running statistics of the scene, as after training."""
    keep_memory()  # as detection and training do
    torch.manual_seed(0)
    ours, stock = Ours(grow).train(), Stock(grow)
    norms = [m for m in ours.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        ours(scene.tensor())
    for norm in norms:
        norm.momentum = MOMENTUM
    stock.take(ours)
    return ours, stock


def forward(network: nn.Module, scene: Scene) -> "ME.SparseTensor":
    with torch.inference_mode():
        return network(scene.tensor())


def step(network: nn.Module, scene: Scene) -> "ME.SparseTensor":
    """Forward and backward of the mean square of the output. Gradients are cleared before."""
    network.zero_grad(set_to_none=True)
    y = network(scene.tensor())
    y.F.square().mean().backward()
    return y


def _against_stock(inputs: Inputs, train: bool, peer_threads: Threads | None = None, grow: bool = True) -> Pair:
    scene = voxels(inputs)
    ours, stock = networks(scene, grow)
    run: Callable[[nn.Module, Scene], Any] = step if train else forward
    ours.train(train), stock.train(train)

    def check() -> None:
        a, b = run(ours, scene), run(stock, scene)
        same_rows((a.C, a.F.detach()), (b.C, b.F.detach()))
        for block, (convolution, _, _) in zip(ours.blocks, stock.blocks, strict=True):
            if train:
                same(
                    block.convolution.kernel.grad, convolution.kernel.grad, "gradients of a kernel", GRADIENT_TOLERANCE
                )

    peer = partial(run, stock, scene)
    sites = "sites grow as SECOND's do" if grow else "sites of MinkowskiEngine's plain striding"
    notes = [f"{len(scene.features)} voxels of {inputs.description}; {sites}"]
    if peer_threads is None:
        grid = [Threads(openmp=omp, openblas=blas) for omp in COUNTS for blas in COUNTS]
        peer_threads = best_of(peer, grid)
    return Pair(Side(partial(run, ours, scene), OURS), Side(peer, peer_threads), check, notes=notes)


def encoder_forward(inputs: Inputs) -> Pair:
    return _against_stock(inputs, train=False)


def encoder_train(inputs: Inputs) -> Pair:
    return _against_stock(inputs, train=True)


def encoder_halved(inputs: Inputs) -> Pair:
    """MinkowskiEngine creates new sites slowly. Without new sites, this row compares only kernel maps and products."""
    return _against_stock(inputs, train=False, grow=False)


def encoder_default_threads(inputs: Inputs) -> Pair:
    return _against_stock(inputs, train=False, peer_threads=Threads(openmp=CORES, openblas=CORES))


def encoder_spconv(inputs: Inputs) -> Pair:
    """spconv's scatter-add on the CPU has a data race with several threads and gives wrong values, so it gets one."""
    scene = voxels(inputs)
    ours = networks(scene)[0].eval()
    side = Side(partial(forward, ours, scene), OURS)
    spconv = peer_module("spconv.pytorch")
    if spconv is None:
        return Pair(side, None, notes=[INSTALL_SPCONV])
    network = spconv_network(spconv, ours).eval()
    indices = scene.coordinates[:, [0, 3, 2, 1]].contiguous()  # frame, z, y, x

    def work() -> Any:
        with torch.inference_mode():
            return network(spconv.SparseConvTensor(scene.features, indices, list(SHAPE), batch_size=1))

    def check() -> None:
        a, b = forward(ours, scene), work()
        stride = torch.tensor([1, *a.tensor_stride], dtype=torch.int32)
        same_rows((a.C, a.F), (b.indices[:, [0, 3, 2, 1]] * stride, b.features))

    single, default = (Threads(openmp=count, openblas=1) for count in (1, CORES))
    with single.applied():
        check()
    return Pair(side, Side(work, single), notes=[_on_all_cores(check, work, default)])


def _on_all_cores(check: Callable[[], None], work: Callable[[], Any], threads: Threads) -> str:
    """A note on spconv's time and errors with its default number of threads."""
    runs, wrong = 5, 0
    with threads.applied():
        for _ in range(runs):
            try:
                check()
            except AssertionError:
                wrong += 1
        return f"spconv on its default of {CORES} threads: {milliseconds(work):.0f} ms, {wrong} of {runs} runs wrong"


ROWS = [
    Row("encoder-forward", "SECOND-size sparse encoder, forward", STOCK, 1.5, encoder_forward),
    Row("encoder-train", "the same, forward and backward", STOCK, 1.5, encoder_train),
    Row(
        "encoder-default-threads", "the same, forward", "MinkowskiEngine 0.5.4, default threads", 2.0,
        encoder_default_threads,
    ),
    Row("encoder-halved", "the same, forward, on sites floor(c / 2)", STOCK, None, encoder_halved),
    Row("encoder-spconv", "the same, forward", "spconv 2.3.8, CPU", 4.0, encoder_spconv),
]  # fmt: skip
