"""Files that torch.save wrote, read beside torch's own reader; what must not be run, or take for ever."""

import argparse
import os
import pickle
import random
import resource
import struct
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mink_pd.convert import read_tensors
from mink_pd.errors import CheckpointError
from mink_pd.torch_files import TorchFile
from mink_pd.torch_pickle import Inert

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16,
)  # fmt: skip


class HistoryBuffer:
    """As MMEngine's: an object with a state of its own, in a dictionary and with NumPy's arrays."""

    def __init__(self) -> None:
        self.history, self.statistics = np.arange(5), {"mean": np.float64(3)}


def content() -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 2, 5, 5)).sum().backward()
    optimiser.step()
    base = torch.arange(24.0)
    views = {"whole": base.view(4, 6), "turned": base.view(4, 6).t(), "part": base.view(4, 6)[1:3, ::2]}
    return {
        "state_dict": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "types": {str(dtype): torch.ones(3).to(dtype) for dtype in DTYPES},
        "views": views,
        "parameter": nn.Parameter(torch.rand(2)),
        "empty": [torch.empty(0), torch.empty(3, 0), torch.tensor(7)],
        "plain": (1, -(2**70), 1.5, "text \u00e9", None, True, b"bytes", [1, [2, ()]], {1: "a", (1, "b"): 2}),
    }


def same(ours: Any, theirs: Any) -> None:
    assert isinstance(ours, type(theirs)) or isinstance(theirs, nn.Parameter)
    if isinstance(theirs, torch.Tensor):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        one, other = (tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in (ours, theirs))
        assert torch.equal(one, other)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            same(ours[key], value)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_same_as_torch_reads(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path, written = tmp_path / "x.pth", content()
    if not zipped:  # younger than that format
        del written["types"]["torch.uint16"], written["types"]["torch.float8_e4m3fn"]
    torch.save(written, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    with TorchFile(path) as file:
        same(file.tensors(file.content), torch.load(path, weights_only=False))


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_beside_the_tensors_are_not_built(tmp_path: Path, zipped: bool) -> None:
    hub = {"log_scalars": OrderedDict({"train/lr": HistoryBuffer(), "epoch": np.int64(3), "loss": np.float32(0.5)})}
    meta = {"cfg": "text", "args": argparse.Namespace(a=1), "root": Path("/x"), "some": defaultdict(list, {"a": [1]})}
    meta |= {"set": {1, 2}, "array": np.arange(3), "frozen": frozenset("ab")}
    weights = OrderedDict({"module.w": torch.arange(3.0), "module.b": torch.ones(1)})
    path = tmp_path / "epoch_80.pth"
    torch.save({"message_hub": hub, "meta": meta, "state_dict": weights}, path, _use_new_zipfile_serialization=zipped)
    found = read_tensors(path, "state_dict")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"w": [0, 1, 2], "b": [1]}
    with TorchFile(path) as file:
        assert isinstance(file.content["message_hub"]["log_scalars"]["train/lr"], Inert)
        assert file.content["meta"]["cfg"] == "text"
        with pytest.raises(CheckpointError, match="more than tensors and plain values"):
            file.tensors(file.content)


class Asks:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (getattr, "builtins.getattr"), (exec, "builtins.exec"),
     (__import__, "builtins.__import__"), (os.getenv, "os.getenv"), (compile, "builtins.compile")],
)  # fmt: skip
def test_what_asks_for_the_system_is_refused_by_name(tmp_path: Path, function: Any, name: str) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "x": Asks(function, "1")}, path)
    with pytest.raises(CheckpointError, match=rf"x\.pth: refused: its pickle asks for {name}"):
        read_tensors(path, "state_dict")


def test_calls_of_other_libraries_are_not_made(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "x.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "x": Asks(torch.save, 1, str(victim))}, path)
    assert read_tensors(path, "state_dict")["w"].tolist() == [1]
    assert not victim.exists()


def zip_of(path: Path, data: bytes, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", data)
        for name, value in more.items():
            archive.writestr(f"x/{name}", value)
    return path


def bomb_of_keys() -> bytes:
    """A dictionary whose key is a tuple of tuples that takes 2^60 steps to hash."""
    return b"\x80\x02})" + b"\x85" + b"2\x86" * 60 + b"K\x01s."


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
HOSTILE = {
    "keys": bomb_of_keys(),
    "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",  # puts something at place 2^31 of a memo
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "string": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"a.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "steps": b"\x80\x02" + b"N0" * 2_000_000 + b"N.",
    "digits": b"L" + b"9" * 5000 + b"L\n.",
    "deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "storage": b"\x80\x02" + STORAGE + b"\x8a\x06\x00\x00\x00\x00\x00\x01tQ.",  # of 2^40 numbers
    "empty": b"",
    "cut": b"\x80\x02}q",
    "stack": b"\x80\x020.",
    "extension": b"\x80\x02\x82\x01.",
    "class as itself": b"\x80\x02cx\ny\n}b.",
    "items for a class": b"\x80\x02cx\ny\nNNs.",
    "items for a number": b"\x80\x02K\x01NNs.",
    "call of a number": b"\x80\x02K\x01)R.",
    "module of no text": b"\x80\x04NN\x93.",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_take_little_time_and_memory(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / "x.pth"
    if zipped:
        zip_of(path, HOSTILE[name])
    else:
        path.write_bytes(b"".join(pickle.dumps(one) for one in (0x1950A86A20F9469CFC6C, 1001, {})) + HOSTILE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as error:
        read_tensors(path, "state_dict")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def test_views_beyond_their_storage_and_compressed_entries_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.arange(4.0)}}, tmp_path / "x.pth")
    data = zipfile.ZipFile(tmp_path / "x.pth").read("x/data.pkl")
    size = data.index(b"K\x04\x85")
    for change in (b"K\x05\x85", b"K\x00\x85"):
        bad = data[:size] + change + data[size + 3 :]
        path = zip_of(tmp_path / "y.pth", bad, **{"data/0": np.arange(4, dtype=np.float32).tobytes()})
        if change == b"K\x05\x85":
            with pytest.raises(CheckpointError, match="beyond its storage"):
                read_tensors(path, "state_dict")
    short = zip_of(tmp_path / "z.pth", data, **{"data/0": b"1234"})
    with pytest.raises(CheckpointError, match=r"z\.pth: "):
        read_tensors(short, "state_dict")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/data/0", bytes(1 << 24))
    with pytest.raises(CheckpointError, match="compressed or too large"):
        read_tensors(tmp_path / "bomb.pth", "state_dict")


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_files_give_our_errors_or_tensors(tmp_path: Path, zipped: bool) -> None:
    path, draw = tmp_path / "x.pth", random.Random(0)
    weights = {"state_dict": {"w": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}, "meta": {"hub": HistoryBuffer()}}
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 1, 4, 30])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.choice([len(data), len(data), draw.randrange(len(data))])])
        message = failure(path)
        refused += message is not None
        assert message is None or (message.startswith(f"{path}: ") and "\n" not in message)
    assert 50 < refused < 300


def failure(path: Path) -> str | None:
    try:
        read_tensors(path, "state_dict")
    except CheckpointError as error:
        return str(error)
    return None


def test_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "pipe"), (tmp_path, "folder"), (tmp_path / "none", "no such file")):
        with pytest.raises(CheckpointError, match=words):
            read_tensors(path, "state_dict")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"meta": {"mmdet3d_version": "0.18.1", "mmdet_version": "2.14"}}, r"MMDetection3D 0\.18, before 1\.0 changed"),
        ({"meta": {"mmdet3d_version": "1.0.0rc1"}}, None),
        ({"meta": {"mmengine_version": "0.7.1"}}, None),
        ({"version": "pcdet+0.1.0+abc"}, r"OpenPCDet 0\.1, before 0\.2"),
        ({"version": "pcdet+0.6.0+0000000"}, None),
        ({"meta": 5, "version": 7}, None),
    ],
)
def test_versions_with_other_boxes_are_refused(tmp_path: Path, more: dict, words: str | None) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}} | more, tmp_path / "x.pth")
    if words is None:
        assert read_tensors(tmp_path / "x.pth", "state_dict")["w"].tolist() == [1]
        return
    with pytest.raises(CheckpointError, match=words):
        read_tensors(tmp_path / "x.pth", "state_dict")


def test_numbers_that_find_nothing_are_refused_at_import(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.tensor([1.0, float("nan")])}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: 'w' has NaN or infinite numbers"):
        read_tensors(tmp_path / "x.pth", "state_dict")
