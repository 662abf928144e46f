"""Starting weights from another detector's checkpoint: what is taken, what starts fresh."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from mink_pd.config import Config
from mink_pd.errors import CheckpointError
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import save_weights
from mink_pd.models.initial import take_weights

Tool = Callable[..., CompletedProcess]
ANCHORS = {
    "Car": {"size": [3.9, 1.6, 1.56], "z": -1.0, "matched": 0.6, "unmatched": 0.45},
    "Lorry": {"size": [8.0, 2.5, 3.0], "z": 0.0, "matched": 0.6, "unmatched": 0.45},
    "Person": {"size": [0.8, 0.6, 1.73], "z": -0.6, "matched": 0.5, "unmatched": 0.35},
}


def make_config(classes: tuple[str, ...] = ("Car", "Lorry"), **model: object) -> Config:
    small = {"pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1], "neck_channels": 8}
    anchors = {name: ANCHORS[name] for name in classes}
    tree = {"data": {"classes": list(classes)}, "model": {**small, "anchors": anchors, **model}}
    return Config.model_validate(tree)


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint of cars and lorries, and its tensors: none as a new detector has them."""
    config = make_config()
    torch.manual_seed(5)
    tensors = {
        name: torch.rand_like(tensor) + 0.5 if tensor.is_floating_point() else tensor + 7
        for name, tensor in build_detector(config).state_dict().items()
    }
    save_weights(tmp_path / "source.safetensors", tensors, config, epoch=1)
    return tmp_path / "source.safetensors", tensors


def start(config: Config, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """Tensors before and after, and what started fresh."""
    torch.manual_seed(1)
    detector = build_detector(config)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    taken = take_weights(detector, path)
    after = detector.state_dict()
    assert sorted([*taken.taken, *taken.fresh]) == sorted(after)  # every tensor is accounted for
    listed = "\n".join(taken.lines())
    assert f"{len(taken.taken)} of {len(after)} tensors taken" in listed
    assert all(f"fresh: {name}, {why}" in listed for name, why in taken.fresh.items())
    return before, after, taken.fresh


def test_the_same_classes_take_everything_whatever_the_range(source: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, tensors = source
    config = make_config()
    config.data.range = (-20, -20, -3, 20, 20, 1)
    _, after, fresh = start(config, path)
    assert fresh == {}
    assert all(torch.equal(after[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("classes", [("Car", "Person"), ("Lorry", "Car"), ("Car",)])
def test_heads_of_other_classes_start_fresh(
    classes: tuple[str, ...], source: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    path, tensors = source
    before, after, fresh = start(make_config(classes), path)
    heads = {name for name in after if name.startswith("head.")}
    assert set(fresh) == heads
    for name in after:
        assert torch.equal(after[name], before[name] if name in heads else tensors[name])
    said = "of other classes" if len(classes) == 2 else "in the file and"
    assert said in fresh["head.score.weight" if "head.score.weight" in fresh else next(iter(fresh))]


def test_other_widths_take_what_fits(source: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, tensors = source
    before, after, fresh = start(make_config(neck_channels=16), path)
    assert 0 < len(fresh) < len(after)
    for name in after:
        assert torch.equal(after[name], before[name] if name in fresh else tensors[name])
        if name in fresh:
            assert f"{tuple(tensors[name].shape)} in the file and {tuple(after[name].shape)} here" == fresh[name]


def test_a_file_that_does_not_fit_at_all_is_one_line(source: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, _ = source
    config = Config.model_validate({"model": {"name": "pointrcnn"}})
    with pytest.raises(CheckpointError, match=r"no tensor fits \(pointpillars in the file, pointrcnn here") as error:
        take_weights(build_detector(config), path)
    assert "\n" not in str(error.value)
