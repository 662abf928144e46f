"""Weights files and training states: round trips, damage, other architectures."""

import json
import os
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.errors import CheckpointError, DataError
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import load_detector, load_weights, read_config, save_weights
from mink_pd.train.state import load_state, random_state, save_state, set_random_state


def small(**model: object) -> Config:
    settings = {"pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1], "neck_channels": 8} | model
    return Config(model=PointPillarsConfig(**settings))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    config = small()
    path = tmp_path / "detector.safetensors"
    save_weights(path, build_detector(config).state_dict(), config, epoch=3)
    return path


def test_a_lone_file_gives_the_detector_back(weights: Path) -> None:
    detector, config = load_detector(weights)
    assert config == small()
    assert not detector.training
    again = build_detector(config)
    load_weights(weights, again, config)
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_another_width_names_tensor_shapes_and_the_key_to_set(weights: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        load_detector(weights, small(compression=4))
    message = str(error.value)
    assert "\n" not in message
    assert str(weights) in message
    assert "(8,)" in message or "(8, " in message
    assert "(4,)" in message or "(4, " in message
    assert "model.compression=1.0" in message


@pytest.mark.parametrize("layers", [[1, 1, 2], [1, 1, 0]])
def test_missing_and_surplus_tensors_are_named(weights: Path, layers: list[int]) -> None:
    config = small()
    config.model.layers = layers
    with pytest.raises(CheckpointError, match=r"absent.*model\.layers=\[1, 1, 1\]"):
        load_detector(weights, config)


def test_damaged_foreign_and_missing_files(tmp_path: Path, weights: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    text = tmp_path / "text.safetensors"
    text.write_text("not a checkpoint")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.ones(1)}, foreign)
    for path, reason in (
        (cut, "damaged"),
        (text, "damaged"),
        (foreign, "mink_pd"),
        (tmp_path / "no", "no such"),
    ):
        with pytest.raises(CheckpointError, match=reason) as error:
            load_detector(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"epoch": 1})

    def fail(state: object, file) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, {"epoch": 2})
    assert load_state(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    for write in (
        lambda: save_state(Path("/dev/full"), {"epoch": 1, "tensor": torch.ones(100_000)}),
        lambda: save_weights(Path("/dev/full"), build_detector(small()).state_dict(), small(), epoch=1),
    ):
        with pytest.raises(DataError, match=r"/dev/full: cannot be written \(No space left on device\)"):
            write()


def test_a_damaged_state_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.state.pt"
    save_state(path, {"tensor": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        load_state(path)


def test_a_state_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "last.state.pt"
    torch.save({"epoch": Path("x")}, path)  # a class that is not among the plain ones
    with pytest.raises(CheckpointError):
        load_state(path)


def test_all_random_generators_are_put_back(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float, float]:
        return random.gauss(0, 1), float(np.random.normal()), float(torch.rand(1)), random.random()

    draw()  # leaves half a pair in the generators of normal numbers
    save_state(tmp_path / "state.pt", random_state())
    first = [draw() for _ in range(3)]
    set_random_state(load_state(tmp_path / "state.pt"))
    assert [draw() for _ in range(3)] == first


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("head.score.bias", float("nan"), "NaN or infinite"),
        ("encoder.linear.weight", float("inf"), "NaN or infinite"),
        ("encoder.norm.running_mean", float("-inf"), "NaN or infinite"),
        ("encoder.norm.running_var", -1.0, "negative variances"),
    ],
)
def test_weights_that_find_nothing_are_refused(tmp_path: Path, name: str, value: float, words: str) -> None:
    state = build_detector(small()).state_dict()
    state[name] = state[name].clone()
    state[name].view(-1)[-1] = value
    save_weights(tmp_path / "x.safetensors", state, small(), epoch=1)
    with pytest.raises(CheckpointError, match=rf"x\.safetensors: '{name}' has {words}"):
        load_detector(tmp_path / "x.safetensors")


def test_a_header_that_claims_more_than_the_file_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "claims.safetensors"
    for model in ({"channels": [100_000] * 3}, {"layers": [10_000] * 3, "channels": [1] * 3, "pillar_channels": 1}):
        header = {"__metadata__": {"format": "mink_pd detector 1", "config": json.dumps({"model": model})}}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(CheckpointError, match="larger network than its tensors"):
            load_detector(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_headers_that_lie_about_themselves(tmp_path: Path, weights: Path) -> None:
    path, data = tmp_path / "x.safetensors", weights.read_bytes()
    for content in (b"", b"\0" * 8, (2**63).to_bytes(8, "little") + data[8:], data[:8] + b"[" * 100, data + b"more"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.safetensors: damaged"):
            load_detector(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe"):
        load_detector(tmp_path / "pipe")


def test_metadata_of_another_version_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    metadata = {"format": "mink_pd detector 1", "config": '{"modle": {}}'}
    save_file({"x": torch.ones(1)}, path, metadata)
    with pytest.raises(CheckpointError, match="modle"):
        read_config(path)
