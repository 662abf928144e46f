"""The fuzzer's seeds: for each reader a small valid file, its name, and the public function that reads it."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import mink_pd  # noqa: F401  # isort: skip  # before torch: it decides how threads wait
import numpy as np
import torch
import yaml
from safetensors.torch import save

from mink_pd.config import Config, load_config
from mink_pd.config.data import PointsConfig
from mink_pd.convert.tensor_files import read_tensors
from mink_pd.data.datasets.kitti_dataset import read_calibration
from mink_pd.data.frame_lists import read_frame_list
from mink_pd.data.kitti.labels import read_objects
from mink_pd.data.points import read_points
from mink_pd.data.recordings import Recording
from mink_pd.data.recordings.drive_writer import DriveWriter
from mink_pd.experiments.matrix import load_matrix
from mink_pd.models.checkpoint import FORMAT, read_config
from mink_pd.train.state import load_state

LABEL = "Car 0.00 0 1.57 500.00 150.00 560.00 210.00 1.50 1.60 4.00 2.00 1.70 20.00 -1.57\n"
MATRIX = "1 0 0 0 0 1 0 0 0 0 1 0"


@dataclass(frozen=True)
class Seed:
    """A valid file to mutate: its name, its bytes, the reader, and the unchanged files next to it."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    beside: dict[str, bytes] = field(default_factory=dict)

    def write_neighbours(self, folder: Path) -> Path:
        """Write the files next to the seed into a new folder below ``folder``; return the path for the seed there."""
        path = folder / f"of_{self.name}" / self.name
        path.parent.mkdir(exist_ok=True)
        for name, content in self.beside.items():
            (path.parent / name).write_bytes(content)
        return path


def cloud(count: int = 40) -> np.ndarray:
    """Points float32 (P, 4)."""
    return np.random.default_rng(0).uniform([0, -20, -2, 0], [50, 20, 1, 1], (count, 4)).astype(np.float32)


def pcd(data: str, types: str = "F F F F") -> bytes:
    points = cloud()
    head = (
        "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE " + types + "\nCOUNT 1 1 1 1\n"
        f"WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {data}\n"
    ).encode()
    if data == "ascii":
        return head + "\n".join(" ".join(f"{v:.3f}" for v in row) for row in points).encode()
    if data == "binary":
        return head + points.tobytes()
    body = points.T.tobytes()  # LZF: literals of up to 32 bytes
    packed = b"".join(bytes([len(body[i : i + 32]) - 1]) + body[i : i + 32] for i in range(0, len(body), 32))
    return head + struct.pack("<II", len(packed), len(body)) + packed


def ply(kind: str) -> bytes:
    points = cloud()
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "intensity"))
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(points)}\n{names}end_header\n".encode()
    if kind == "ascii":
        return head + "\n".join(" ".join(f"{v:.3f}" for v in row) for row in points).encode()
    return head + points.astype(">f4" if "big" in kind else "<f4").tobytes()


def seeds(folder: Path) -> Iterator[Seed]:
    """All seeds of this module. folder: for files that only a library can write."""
    for name, content in (
        ("a.bin", cloud().tobytes()), ("ascii.pcd", pcd("ascii")), ("binary.pcd", pcd("binary")),
        ("packed.pcd", pcd("binary_compressed")), ("a.ply", ply("ascii")), ("little.ply", ply("binary_little_endian")),
        ("big.ply", ply("binary_big_endian")),
    ):  # fmt: skip
        yield Seed(name, content, read_points)
    np.save(folder / "a.npy", cloud())
    np.savez(folder / "a.npz", points=cloud())
    for name in ("a.npy", "a.npz"):
        yield Seed(name, (folder / name).read_bytes(), read_points)
    yield Seed("a.las", las(folder / "a.las"), partial(read_points, settings=PointsConfig(intensity=65535)))
    yield Seed("label.txt", 3 * LABEL.encode(), read_objects)
    calibration = "".join(f"P{n}: {MATRIX}\n" for n in range(4))
    calibration += "R0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
    yield Seed("calib.txt", calibration.encode(), read_calibration)
    yield Seed("list.txt", b"000000\n000001\n000007\n", read_frame_list)
    config = {"data": {"range": [0, -8, -3, 16, 8, 1]}, "train": {"epochs": 3}, "model": {"compression": 4}}
    yield Seed("config.yaml", yaml.safe_dump(config).encode(), load_config)
    matrix = {"config": "config.yaml", "runs": {"teacher": {"once": True}, "student": {"teacher": "teacher"}}}
    yield Seed("matrix.yaml", yaml.safe_dump(matrix).encode(), load_matrix)
    metadata = {"format": FORMAT, "epoch": "1", "config": Config().model_dump_json()}
    yield Seed("a.safetensors", save({"head.score.bias": torch.zeros(18)}, metadata), read_config)
    torch.save({"state_dict": {"a.weight": torch.zeros(3)}, "meta": {"epoch": 1}}, folder / "a.pth")
    yield Seed("a.pth", (folder / "a.pth").read_bytes(), partial(read_tensors, key="state_dict"))
    torch.save({"epoch": 1, "step": 2, "generators": [{"torch": torch.zeros(4, dtype=torch.uint8)}]}, folder / "a.pt")
    yield Seed("a.state.pt", (folder / "a.pt").read_bytes(), load_state)
    yield Seed("a.mcap", mcap(folder / "a.mcap"), read_recording)


def las(path: Path) -> bytes:
    import laspy

    data = laspy.create(point_format=3, file_version="1.2")
    data.x, data.y, data.z = cloud()[:, :3].T.astype(float)
    data.write(str(path))
    return path.read_bytes()


def mcap(path: Path) -> bytes:
    """A recording of two clouds."""
    with path.open("wb") as file:
        writer = DriveWriter(file)
        for number in range(2):
            writer.cloud("/points", cloud(), 1_000_000_000 * (number + 1), "lidar")
        writer.finish()
    return path.read_bytes()


def read_recording(path: Path) -> int:
    """Read every cloud of a recording."""
    recording = Recording(path)
    try:
        return sum(len(frame.points) for frame in recording)
    finally:
        recording.close()
