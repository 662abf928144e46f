"""Frames that a training may not be evaluated on, or not be trained on, are refused before anything is written."""

from pathlib import Path

import pytest
import yaml
from cloud_folders import from_kitti
from tiny_kitti import settings, write_data

from mink_pd.config import load_config
from mink_pd.errors import MinkPDError
from mink_pd.new_config.plan import make_plan
from mink_pd.new_config.warn import warnings_of
from mink_pd.train.start import train_detector

IDS = [f"{n:06d}" for n in range(8)]
ANCHOR = {"size": [4.0, 1.6, 1.5], "z": -1, "matched": 0.6, "unmatched": 0.45}


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """A configuration of frames in KITTI's layout: six for training, two for validation, two without labels."""
    write_data(tmp_path / "kitti", IDS[:6], IDS[6:])
    (tmp_path / "kitti" / "testing").symlink_to(tmp_path / "kitti" / "training")
    (tmp_path / "kitti" / "ImageSets" / "test.txt").write_text("\n".join(IDS[:2]))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings(tmp_path / "kitti", tmp_path / "runs")))
    return tmp_path / "tiny.yaml"


@pytest.fixture
def clouds(kitti: Path) -> Path:
    """The same frames as a folder of clouds, of which the third and the sixth have no labels."""
    root = from_kitti(kitti.parent / "kitti", kitti.parent / "clouds")
    for id in (IDS[2], IDS[5]):
        (root / "labels" / f"{id}.txt").unlink()
    tree = settings(root, kitti.parent / "runs")
    tree["data"] |= {"kind": "clouds", "classes": ["Car"]}
    tree["model"] |= {"name": "pointpillars", "anchors": {"Car": ANCHOR}}
    (kitti.parent / "clouds.yaml").write_text(yaml.safe_dump(tree))
    return kitti.parent / "clouds.yaml"


def refuses(path: Path, text: str, *overrides: str) -> None:
    with pytest.raises(MinkPDError, match=text) as error:
        train_detector(load_config(path, ["name=refused", *overrides]))
    assert "\n" not in str(error.value)
    assert not (path.parent / "runs" / "refused").exists()


def test_frames_without_labels_are_no_empty_ones(clouds: Path) -> None:
    bare = r"2 of 8 frames of .*clouds have no labels \(000002, 000005\); label them"
    refuses(clouds, rf"'data\.train_split': {bare}", "data.train_split=all")
    refuses(clouds, rf"'data\.also\.more': {bare}", "data.also={more: {split: all}}")
    refuses(clouds, rf"'data\.val_split' .*{bare}", "data.val_split=all", "train.validate_every=0")
    data = load_config(clouds, ["data.train_split=all"]).data
    with pytest.raises(MinkPDError, match=bare):
        make_plan(data, "small", 8)


def test_validation_needs_labels_before_the_first_step(kitti: Path) -> None:
    refuses(kitti, "2 of 2 frames of .*kitti have no labels", "data.val_split=test", "evaluate.scorer=clouds")
    refuses(kitti, "000000", "data.val_split=test")


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["data.train_split=all"], "2 of 2 validation frames are training frames (000006, 000007)"),
        (["data.also={more: {split: all}}"], "2 of 2 validation frames are training frames (000006, 000007)"),
        (["data.repeat=0", "data.also={more: {split: val}}"], "2 of 2 validation frames are training frames"),
        (["data.val_split=train"], "6 of 6 validation frames are training frames"),
        ([], ""),
    ],
)
def test_a_training_on_validation_frames_says_so(
    kitti: Path, overrides: list[str], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ID in another folder is another frame."""
    write_data(kitti.parent / "other", IDS[:2], [])
    other = [] if note else [f"data.also={{more: {{root: {kitti.parent / 'other'}}}}}"]
    run = train_detector(load_config(kitti, ["name=fit", "train.epochs=1", *other, *overrides]))
    said = (capsys.readouterr().out.replace("\n", " "), run.environment.read_text())
    assert all(note in text if note else "validation frames are" not in text for text in said)


def test_a_name_tells_nothing_about_the_frames(clouds: Path) -> None:
    plan = make_plan(load_config(clouds, ["data.train_split=labelled"]).data, "small", 8)
    assert "validation frames are training frames" in warnings_of(plan)[0]
