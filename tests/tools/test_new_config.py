"""tools/new_config.py: what it writes trains, its numbers are the data's, every warning can come, and bad inputs end in
one line."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from labelled_street import GROUND, SIZES, street, write_street

from mink_pd.config import load_config
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.data.frame import Frame
from mink_pd.new_config.plan import choose_frames

Tool = Callable[..., CompletedProcess]
FRAMES = [street(seed) for seed in range(24)]


def with_splits(root: Path, train: list[str], val: list[str]) -> Path:
    (root / "splits").mkdir(exist_ok=True)
    for split, ids in (("train", train), ("val", val)):
        (root / "splits" / f"{split}.txt").write_text("".join(f"{id}\n" for id in ids))
    return root


def folder(root: Path, frames: list[Frame] = FRAMES, **said: object) -> Path:
    """Frames as a folder of clouds, the last four for validation."""
    ids = [frame.id for frame in frames]
    return with_splits(write_street(root, frames, **said), ids[:-4], ids[-4:])


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("own") / "streets")


def written(tool: Tool, root: Path, out: Path, *options: object) -> str:
    """What the tool prints; the file is at ``out``."""
    done = tool("new_config.py", root, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 0
    return done.stdout


def test_the_file_has_the_numbers_of_the_data(tool: Tool, streets: Path, tmp_path: Path) -> None:
    printed = written(tool, streets, tmp_path / "own.yaml")
    assert printed.count("warning:") == 1
    assert "Bus (20), Person (20): fewer than 50 objects" in printed
    config = load_config(tmp_path / "own.yaml")
    assert config.data.classes == list(SIZES)
    model = config.model
    assert isinstance(model, AnchorDetectorConfig)
    for name, size in SIZES.items():
        own = np.concatenate([frame.boxes[frame.names == name] for frame in FRAMES[:-4]])
        np.testing.assert_allclose(model.anchors[name].size, np.exp(np.log(own[:, 3:6]).mean(0)), atol=0.02)
        np.testing.assert_allclose(model.anchors[name].size, size, rtol=0.05)
        assert model.anchors[name].z == pytest.approx(GROUND + size[2] / 2, abs=0.05)
    boxes = np.concatenate([frame.boxes for frame in FRAMES[:-4]])
    low, high = np.array(config.data.range[:3]), np.array(config.data.range[3:])
    inside = ((boxes[:, :2] >= low[:2]) & (boxes[:, :2] < high[:2])).all(axis=1)
    assert inside.all()
    assert high[0] < np.abs(boxes[:, 0]).max() + 11  # no larger than the objects need
    assert low[0] == -high[0]
    assert config.data.augment.flip_x == 0.5
    assert model.voxel_size[2] == high[2] - low[2]
    assert ((high - low)[:2] / model.voxel_size[0] % 8 == 0).all()
    text = (tmp_path / "own.yaml").read_text()
    assert max(map(len, text.splitlines())) < 200
    assert re.search(r"  # Car +60 +3.00 ", text)  # 20 frames of three cars
    again = tmp_path / "again" / "own.yaml"
    again.parent.mkdir()
    written(tool, streets, again)
    assert again.read_text() == text.replace(str(tmp_path), str(again.parent))


def test_the_file_trains(tool: Tool, streets: Path, tmp_path: Path) -> None:
    written(tool, streets, tmp_path / "own.yaml")
    done = tool("train.py", tmp_path / "own.yaml", f"runs={tmp_path}", "train.epochs=1", "train.threads=1")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1  validation  mAP_bev" in done.stdout
    assert (tmp_path / "own" / "config.yaml").exists()


@pytest.mark.parametrize("budget", ["medium", "large"])
def test_other_budgets_load_with_smaller_voxels(tool: Tool, streets: Path, tmp_path: Path, budget: str) -> None:
    written(tool, streets, tmp_path / "own.yml", "--budget", budget, "--frames", "4")
    config = load_config(tmp_path / "own.yml")
    assert config.model.voxel_size[0] < 0.25
    assert config.model.name == ("second" if budget == "large" else "pointpillars")


def test_several_shapes_of_a_class_serve_all_classes(tool: Tool, tmp_path: Path) -> None:
    """Cars and buses under one name."""
    frames = [replace(frame, names=np.where(frame.names == "Bus", "Car", frame.names)) for frame in FRAMES]
    root = folder(tmp_path / "merged", [*frames, *(replace(one, id=f"b{one.id}") for one in frames)])
    written(tool, root, tmp_path / "own.yaml")
    config = load_config(tmp_path / "own.yaml")
    assert isinstance(config.model, AnchorDetectorConfig)
    assert config.model.head.any_class
    assert list(config.model.anchors) == ["Car_1", "Car_2", "Person"]
    assert config.model.anchors["Car_2"].size[0] > 2 * config.model.anchors["Car_1"].size[0]
    assert "25% of Car have this shape" in (tmp_path / "own.yaml").read_text()


def test_every_warning_can_come(tool: Tool, tmp_path: Path) -> None:
    far = np.array([[300.0, 0, -1, 4.4, 1.9, 1.6, 0]], np.float32)
    frames = []
    for number, frame in enumerate(FRAMES):
        boxes = frame.boxes.copy()
        boxes[frame.names == "Bus", 2] += 40  # above all points
        boxes[frame.names == "Car"] = boxes[frame.names == "Car"][:, [0, 1, 2, 4, 3, 5, 6]]
        names = frame.names if number < 20 else np.where(frame.names == "Person", "Car", frame.names)
        cloud = frame.points * np.array([1, 1, 1, 0], np.float32)
        frames.append(Frame(frame.id, cloud, np.concatenate([boxes, far]), np.array([*names, "Car"])))
    root = folder(tmp_path / "bad", frames, classes=[*SIZES, "Tram"])
    printed = written(tool, root, tmp_path / "own.yaml")
    for text in (
        "Tram: no object in split 'train', so left out.",
        "Person: no object in split 'val', so not evaluated.",
        "Bus (20), Person (20): fewer than 50 objects to learn from",
        "Car (20 of 80, up to 300 m away): objects out of range, neither trained on nor evaluated.",
        "Bus: 20 of 20 boxes hold no point.",
        "Car: the points in and near the boxes say that length and width are exchanged; correct the labels.",
        "The intensity is 0 at every point and carries no information; set intensity: none.",
    ):
        assert f"warning: {text}" in printed
        head = (tmp_path / "own.yaml").read_text().replace("\n#  ", "").partition("data:")[0]
        assert f"# - {text}" in head
    assert load_config(tmp_path / "own.yaml").data.classes == list(SIZES)
    cones = folder(tmp_path / "cones", [street(seed, ("Cone",) * 4) for seed in range(24)], classes=["Cone"])
    assert "Cone (8%): few objects get a positive anchor by IoU" in written(tool, cones, tmp_path / "cones.yaml")


def test_bad_inputs_end_in_one_line(tool: Tool, streets: Path, tmp_path: Path) -> None:
    def refused(*words: object) -> str:
        done = tool("new_config.py", *words)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    out = tmp_path / "own.yaml"
    assert "no such folder" in refused(tmp_path / "nowhere", "--out", out)
    assert "holds none of points/" in refused(streets / "points", "--out", out)
    assert "a configuration ends in .yaml" in refused(streets, "--out", tmp_path / "own.txt")
    assert "choose a folder that exists" in refused(streets, "--out", tmp_path / "none" / "own.yaml")
    assert "has no class 'Tram'" in refused(streets, "--out", out, "--classes", "Tram")
    assert "--kind kiti: choose from" in refused(streets, "--out", out, "--kind", "kiti")
    assert "no such list" in refused(streets, "--out", out, "--train-split", "trian")
    empty = folder(tmp_path / "empty")
    for path in (empty / "labels").iterdir():
        path.write_text("")
    assert "has no object of Car, Bus, Person" in refused(empty, "--out", out)
    (empty / "dataset.yaml").unlink()
    assert "dataset.yaml: missing" in refused(empty, "--out", out)
    broken = folder(tmp_path / "broken")
    (broken / "labels" / "003.txt").write_text("1 2 3 4 5 6 0 Car\n1 2 3 4 5 6 90 Car\n")
    assert "003.txt:2: yaw is 90, beyond 2 pi" in refused(broken, "--out", out)
    (tmp_path / "link.yaml").symlink_to(broken / "dataset.yaml")
    described = (broken / "dataset.yaml").read_text()
    for own in (broken / "dataset.yaml", tmp_path / "link.yaml"):
        assert "describes the data set itself" in refused(broken, "--out", own, "--force")
    assert (broken / "dataset.yaml").read_text() == described
    assert not out.exists()
    out.write_text("years: of work")
    assert "is there already; --force replaces it" in refused(streets, "--out", out)
    assert out.read_text() == "years: of work"
    written(tool, streets, out, "--force")
    assert "years" not in out.read_text()


def test_odd_names_are_quoted(tool: Tool, tmp_path: Path) -> None:
    """Folders and classes that YAML or a shell would misread."""
    frames = [replace(frame, names=np.where(frame.names == "Car", "1e5", "no")) for frame in FRAMES[:8]]
    root = folder(tmp_path / "a: #b 'c'", frames, classes={"1e5": [], "no": []})
    written(tool, root, tmp_path / "own.yaml")
    config = load_config(tmp_path / "own.yaml")
    assert config.data.classes == ["1e5", "no"]
    assert config.data.root == root


def test_kitti_and_nuscenes_layouts(tool: Tool, data: Path, nuscenes_root: Path, tmp_path: Path) -> None:
    written(tool, data, tmp_path / "kitti.yaml")
    config = load_config(tmp_path / "kitti.yaml")
    assert config.data.kind == "kitti"
    assert config.data.range[0] == 0
    written(tool, nuscenes_root, tmp_path / "nuscenes.yaml")
    config = load_config(tmp_path / "nuscenes.yaml")
    assert config.data.kind == "nuscenes"
    assert config.train.best_metric == "NDS"
    assert getattr(config.data, "version") == "v1.0-trainval"  # noqa: B009
    assert isinstance(config.model, AnchorDetectorConfig)
    assert config.model.head.velocity


def test_frames_are_spread_and_rare_classes_are_looked_for() -> None:
    names = [np.array(["Car"]) for _ in range(1000)]
    for rare in range(500, 530):
        names[rare] = np.array(["Car", "Tram"])
    chosen = choose_frames(names, ["Car", "Tram"], 100)
    assert len(chosen) < 130
    assert {0, 999} <= set(chosen)
    assert sum("Tram" in names[index] for index in chosen) >= 25
    assert choose_frames(names, ["Car"], 5000) == list(range(1000))
