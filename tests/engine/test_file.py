"""The engine's file: parts that do not fit each other are refused, whichever they are."""

import ctypes
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from engine_cases import cloud, tuned
from safetensors.numpy import load, save

from mink_pd.config import Config
from mink_pd.detect.engine import Engine, interface_of
from mink_pd.detect.engine_file import VERSION, engine_file
from mink_pd.errors import CheckpointError, DataError
from mink_pd.export.engine_int8 import Int8Network, network_input
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.checkpoint import ENGINE_MAGIC, load_detector
from mink_pd.native.build import library_path

RANGE = [0.0, -10.0, -3.0, 25.6, 10.0, 1.0]
VOXELS = {"name": "second", "voxel_size": [0.2, 0.2, 0.2], "encoder_channels": [4, 4, 8, 8, 4], "channels": [8, 8],
          "layers": [1, 1], "neck_channels": 8}  # fmt: skip
PILLARS = {"voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1],
           "neck_channels": 8}  # fmt: skip
MODELS: dict[str, dict] = {
    "pillars": PILLARS,
    "pillar layers": {**PILLARS, "pillar_layers": [8, 8]},
    "feature pyramid": {**PILLARS, "neck": "fpn"},
    "voxels": VOXELS,
    "residual voxels": {**VOXELS, "name": "centerpoint_voxels", "residual": True, "head": {"channels": 8}},
}  # fmt: skip


def written(model: str) -> bytes:
    settings = MODELS["pillars" if model == "8 bits" else model]
    detector = tuned(Config.model_validate({"data": {"range": RANGE}, "model": settings}))
    if model != "8 bits":
        return engine_file(detector)
    assert isinstance(detector, BevDetector)
    one = network_input(detector, cloud(detector.config))
    assert one is not None
    return Int8Network(detector, [one]).content(set())


def parts(content: bytes) -> tuple[dict, dict]:
    """Tensors and description of a file."""
    length = struct.unpack("<Q", content[32:40])[0]
    header = json.loads(content[40 : 40 + length])
    return load(content[32:]), json.loads(header["__metadata__"]["mink_pd"])


def joined(tensors: dict, description: dict) -> bytes:
    content = save(tensors, {"mink_pd": json.dumps(description)})
    return struct.pack("<8sIIQQ", ENGINE_MAGIC, VERSION, zlib.crc32(content), len(content), 0) + content


@pytest.mark.parametrize("escaped", [True, False])
def test_names_in_any_script_come_back(escaped: bool) -> None:
    """In JSON, a character beyond 16 bits is escaped as two codes."""
    tensors, description = parts(written("pillars"))
    names = ["Fußgänger", "自転車", "\U0001f6b2"]
    assert len(description["classes"]) == len(names)
    content = save(tensors, {"mink_pd": json.dumps(description | {"classes": names}, ensure_ascii=escaped)})
    content = struct.pack("<8sIIQQ", ENGINE_MAGIC, VERSION, zlib.crc32(content), len(content), 0) + content
    library, handle = interface_of(library_path()), ctypes.c_void_p()
    library.minkpd_class_name.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.minkpd_class_name.restype = ctypes.c_char_p
    assert library.minkpd_load_bytes(content, len(content), 1, ctypes.byref(handle)) == 0
    assert [library.minkpd_class_name(handle, label).decode() for label in range(3)] == names
    library.minkpd_free(handle)


@pytest.mark.parametrize("model", MODELS)
def test_tensors_of_other_shapes_and_missing_ones_are_refused(model: str) -> None:
    tensors, description = parts(written(model))
    Engine(joined(tensors, description))
    for name, tensor in tensors.items():
        with pytest.raises(DataError, match=f"lacks the tensor '{name}'"):
            Engine(joined({key: other for key, other in tensors.items() if key != name}, description))
        for axis in range(tensor.ndim):
            for wrong in (tensor.repeat(2, axis), tensor.take([], axis)):
                with pytest.raises(DataError, match="engine: "):
                    Engine(joined(tensors | {name: wrong}, description))


@pytest.mark.parametrize("model", [*MODELS, "8 bits"])
def test_damaged_cut_and_other_files_are_refused(model: str) -> None:
    content, random = written(model), np.random.default_rng(0)
    places = [*range(40), 100, len(content) - 1, *random.integers(40, len(content), 60).tolist()]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        with pytest.raises(DataError, match="engine: "):
            Engine(bytes(changed))
    for length in (*range(0, 48, 7), 1000, len(content) // 2, len(content) - 4, len(content) - 1):
        with pytest.raises(DataError, match=r"is not a detector's file|is damaged"):
            Engine(content[:length])
    with pytest.raises(DataError, match="is damaged"):
        Engine(content + b"\0")
    for version in (0, 1, VERSION - 1, VERSION + 1, 2**32 - 1):
        with pytest.raises(DataError, match=f"has version {version}, this library reads version {VERSION}; "):
            Engine(content[:8] + version.to_bytes(4, "little") + content[12:])


def test_an_engine_file_is_no_checkpoint(tmp_path: Path) -> None:
    student = tmp_path / "student.mpd"
    student.write_bytes(written("pillars"))
    with pytest.raises(CheckpointError, match=r"student\.mpd: is a file for minkpd-detect and libminkpd; give the run"):
        load_detector(student)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("encoder", "kind", "points"),
        ("bev", "fpn", True),
        ("head", "anchors", []),
        ("head", "steps", [[1, 1], [2, 2]]),
        ("encoder", "layers", [2, 3, 3]),
        ("encoder", "layers", [2, 3, 3, 4]),
        ("encoder", "layers", [2, 3, 3, 0]),
        ("encoder", "layers", [2, 3, 3, -1]),
        ("encoder", "layers", "2333"),
        ("encoder", "levels", 0),
        ("encoder", "levels", 1e9),
        ("encoder", "levels", 2),
        ("encoder", "lift", -1),
        ("encoder", "lift", None),
        ("encoder", "residual", True),
        ("encoder", "residual", 1),
        ("points", "seen", [0, 1, 2]),
        ("points", "seen", [0, 1, 2, 3, 3]),
        ("points", "cells", [128, 100]),
        ("points", "intensity", 0),
        ("points", "intensity", "loud"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(part: str, key: str, value: object) -> None:
    tensors, description = parts(written("voxels"))
    description[part][key] = value
    with pytest.raises(DataError, match="engine: "):
        Engine(joined(tensors, description))
    del description[part][key]
    with pytest.raises(DataError, match=f"lacks|{key}"):
        Engine(joined(tensors, description))
