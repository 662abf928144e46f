"""The engine's file: parts that do not fit each other are refused, whichever they are."""

import json
import struct
import zlib

import pytest
from engine_cases import tuned
from safetensors.numpy import load, save

from mink_pd.config import Config
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import MAGIC, VERSION, engine_file
from mink_pd.errors import DataError

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
    return engine_file(tuned(Config.model_validate({"data": {"range": RANGE}, "model": MODELS[model]})))


def parts(content: bytes) -> tuple[dict, dict]:
    """Tensors and description of a file."""
    length = struct.unpack("<Q", content[32:40])[0]
    header = json.loads(content[40 : 40 + length])
    return load(content[32:]), json.loads(header["__metadata__"]["mink_pd"])


def joined(tensors: dict, description: dict) -> bytes:
    content = save(tensors, {"mink_pd": json.dumps(description)})
    return struct.pack("<8sIIQQ", MAGIC, VERSION, zlib.crc32(content), len(content), 0) + content


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
