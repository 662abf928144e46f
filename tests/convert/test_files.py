"""Files of others are opened without running what is in them."""

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from mink_pd.convert import Stated, read_stated, read_tensors
from mink_pd.errors import CheckpointError


class Nasty:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_both_serialisations(tmp_path: Path, zipped: bool) -> None:
    content = {"epoch": 3, "model_state": OrderedDict(a=torch.ones(2)), "optimizer_state": None, "version": "x"}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert read_tensors(tmp_path / "x.pth", "model_state")["a"].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match=r"no tensors under 'state_dict'.*model_state.*--format"):
        read_tensors(tmp_path / "x.pth", "state_dict")


@pytest.mark.parametrize(
    ("meta", "classes", "settings"),
    [
        ({"CLASSES": ("Pedestrian", "Car"), "config": "x = 1"}, ("Pedestrian", "Car"), "x = 1"),
        ({"dataset_meta": {"classes": ["Car"]}, "cfg": "legacy=False"}, ("Car",), "legacy=False"),
        ({"dataset_meta": {"CLASSES": ("Car",)}, "cfg": {"legacy": False}}, ("Car",), ""),
        ({"CLASSES": None, "dataset_meta": "x"}, (), ""),
        ("x", (), ""),
    ],
)
def test_what_a_file_states(meta: object, classes: tuple[str, ...], settings: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": meta}, tmp_path / "x.pth")
    assert read_stated(tmp_path / "x.pth") == Stated(classes, settings)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_asks_for_more_is_refused(tmp_path: Path, zipped: bool) -> None:
    path, victim = tmp_path / "x.pth", tmp_path / "victim"
    torch.save(
        {"model_state": {"a": torch.ones(2)}, "extra": Nasty(victim)}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointError, match="refused") as caught:
        read_tensors(path, "model_state")
    assert "\n" not in str(caught.value)
    assert "posix.mkdir" in str(caught.value)
    assert not victim.exists()


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_tensors(tmp_path / "none.pth", "model_state")
    torch.save({"model_state": {"a": torch.ones(1000)}}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:1500])
    (tmp_path / "text.pth").write_text("hello")
    for name in ("cut.pth", "text.pth"):
        with pytest.raises(CheckpointError, match=name) as caught:
            read_tensors(tmp_path / name, "model_state")
        assert "\n" not in str(caught.value)
