"""A whole export: what is written, what it computes, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from export.conftest import clusters, shaken
from models.frames import centerpoint, centerpoint_nuscenes, centerpoint_voxels, nuscenes, pointpillars, second
from rich.console import Console

from mink_pd.commands.export import check_out
from mink_pd.config import Config
from mink_pd.config.pointrcnn import PointRCNNConfig
from mink_pd.data.datasets.nuscenes_dataset import Sweep, read_sweep
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.data.points import read_points
from mink_pd.detect.engine_file import file_settings
from mink_pd.errors import ConfigError, DataError, ExportError, MinkPDError
from mink_pd.export import network
from mink_pd.export.card import read_card
from mink_pd.export.compare import compare_detections
from mink_pd.export.detector import ExportedDetector
from mink_pd.export.graph import OnnxSession
from mink_pd.export.networks import Settings
from mink_pd.export.write import Source, cloud_of, export
from mink_pd.models import Detector, build_detector
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.checkpoint import save_weights


class Clouds:
    """Frames in memory."""

    def __init__(self, *frames: Frame) -> None:
        self.frames, self.ids = frames, [frame.id for frame in frames]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]


def source(detector: Detector, folder: Path) -> Source:
    path = folder / "weights.safetensors"
    save_weights(path, detector.state_dict(), detector.config, 0)
    return Source(path, "run")


def write(config: Config, folder: Path, clouds: int = 1, **settings: object) -> tuple[BevDetector, Path, str]:
    """Export a detector of random weights: the detector, the export folder, and what was printed."""
    detector = shaken(config)
    assert isinstance(detector, BevDetector)
    frames = Clouds(*(clusters(config, seed) for seed in range(clouds)))
    console = Console(record=True, width=100)
    export(detector, source(detector, folder), Settings(**settings), frames, folder / "out", console)  # type: ignore[arg-type]
    return detector, folder / "out", console.export_text()


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("most", [None, 400])
def test_the_folder_finds_what_the_detector_finds(target: str, most: int | None, tmp_path: Path) -> None:
    detector, folder, text = write(pointpillars(), tmp_path, target=target, most=most)
    for stage in ("canvas", "bev1", "bev2", "bev3", "neck", "scores", "boxes", "directions", "final boxes"):
        assert stage in text
    assert (folder / "verification.txt").read_text() in text
    kinds = {"onnx": {".onnx"}, "openvino": {".xml", ".bin"}}[target] | {".yaml", ".txt"}
    assert {file.suffix for file in folder.iterdir()} == kinds
    for runtime in ("openvino",) if target == "openvino" else ("onnxruntime", "openvino"):
        exported = ExportedDetector(folder, runtime)  # type: ignore[arg-type]
        for seed in (5, 6):  # clouds that it was not compared on
            batch = collate([clusters(detector.config, seed)], detector.classes)
            with torch.inference_mode():
                wanted, found = detector.detect(detector(batch))[0], exported.detect(exported(batch))[0]
            assert len(wanted.boxes) > 5
            assert compare_detections(found, wanted, detector.settings.nms).same


@pytest.mark.parametrize(
    "config",
    [
        nuscenes(),
        second(bev="dense"),
        pointpillars(max_points=4, empty_slots=True),
        centerpoint(bev="dense"),
        centerpoint_nuscenes(),
        centerpoint_voxels(),
    ],
)
def test_other_detectors(config: Config, tmp_path: Path) -> None:
    detector, folder, _ = write(config, tmp_path, opset=11)
    exported = ExportedDetector(folder)
    frames = [
        clusters(config, 7),
        Frame("empty", np.zeros((0, config.data.point_features), np.float32)),
        clusters(config, 8),
    ]
    batch = collate(frames, detector.classes)
    with torch.inference_mode():
        wanted, found = detector.detect(detector(batch)), exported.detect(exported(batch))
    for one, other in zip(found, wanted, strict=True):
        agreement = compare_detections(one, other, detector.settings.nms)
        assert agreement.same
        assert agreement.pairs > 0 or len(other.boxes) == 0


def test_model_yaml_has_what_a_runtime_needs(tmp_path: Path) -> None:
    detector, folder, _ = write(pointpillars(max_points=4), tmp_path, most=300, opset=13)
    card = yaml.safe_load((folder / "model.yaml").read_text())
    assert card["range"] == list(detector.config.data.range)
    assert card["grid"] == [32, 32]
    assert card["pillars"]["features"] == ["x", "y", "z", "intensity", "x - mean", "y - mean", "z - mean",
                                           "x - centre", "y - centre", "z - centre"]  # fmt: skip
    assert (card["pillars"]["slots"], card["pillars"]["overflow"], card["pillars"]["most"]) == (4, "drop", 300)
    assert card["classes"] == ["Car", "Pedestrian", "Cyclist"]
    assert [anchor["name"] for anchor in card["anchors"]] == [name for name in card["classes"] for _ in range(2)]
    assert card["graphs"]["pillar_encoder"]["inputs"] == {"features": [300, 4, 10]}
    assert card["graphs"]["backbone_neck_head"]["outputs"] == {
        "scores": [1, 18, 16, 16], "boxes": [1, 42, 16, 16], "directions": [1, 12, 16, 16],
    }  # fmt: skip
    assert (card["opset"], card["strides"], card["run"]) == (13, [2], "run")
    assert set(card["files"]) == {file.name for file in folder.iterdir()} - {"model.yaml"}
    onnx = pytest.importorskip("onnx")
    assert onnx.load(folder / "detector.onnx").opset_import[0].version == 13


def test_dynamic_graphs_say_so(tmp_path: Path) -> None:
    _, folder, _ = write(pointpillars(), tmp_path)
    graphs = read_card(folder).graphs
    assert graphs["pillar_encoder"].inputs == {"features": ["rows", 16, 10]}
    assert graphs["detector"].inputs == {"features": ["rows", "slots", 10], "coordinates": ["rows", 2]}
    session = OnnxSession(folder / "detector.onnx")
    for rows, slots in ((1, 1), (7, 3)):
        inputs = {"features": np.ones((rows, slots, 10), np.float32), "coordinates": np.zeros((rows, 2), np.int32)}
        assert session.run(inputs)["scores"].shape == (1, 18, 16, 16)


def test_model_yaml_says_how_files_are_read() -> None:
    box = (-1.0, -1.0, -2.0, 1.0, 1.0, 2.0)
    data = pointpillars().data
    assert cloud_of(data.model_copy(update={"own_vehicle": box})).own_vehicle == box
    assert cloud_of(data).intensity == "by_type"
    own = nuscenes().data
    assert (cloud_of(own).columns, cloud_of(own).intensity) == (["x", "y", "z", "intensity", "ring"], 255)
    assert cloud_of(own.model_copy(update={"intensity": 100.0})).intensity == 100


def test_sweeps_of_nuscenes_are_read_as_model_yaml_says(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.pcd.bin"
    points = np.random.default_rng(0).uniform((2, -20, -2, 0, 0), (40, 20, 1, 255, 31), (500, 5)).astype(np.float32)
    points.tofile(sweep)
    own = nuscenes().data
    read = read_sweep(Sweep(sweep, 0.0, np.eye(4)), own).points
    np.testing.assert_allclose(read_points(sweep, file_settings(own)), read[:, :4], rtol=1e-5, atol=1e-6)


def test_a_folder_that_cannot_be_replaced_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("."), tmp_path):
        with pytest.raises(ConfigError, match=f"^{path}: contains the current folder"):
            check_out(path, force=False)


def left(folder: Path) -> list[str]:
    """What a refused export has left behind."""
    return [file.name for file in folder.iterdir() if file.name != "weights.safetensors"]


def test_a_network_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its mask a convolution writes to empty cells, which their neighbours then read."""
    monkeypatch.setattr(network, "_masked", lambda x, mask: x)
    with pytest.raises(ExportError, match="differs from the trained detector: bev1"):
        write(pointpillars(), tmp_path)
    assert left(tmp_path) == []


def test_a_wrong_number_in_the_card_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder as it was saved is compared as well, with the settings that its model.yaml has."""
    from mink_pd.export import write as module

    def wrong(*arguments: object) -> object:
        card = describe(*arguments)  # type: ignore[arg-type]
        card.head["direction_offset"] = card.config["model"]["head"]["direction_offset"] = 0.5
        return card

    describe = module.describe
    monkeypatch.setattr(module, "describe", wrong)
    with pytest.raises(ExportError, match="as saved"):
        write(pointpillars(), tmp_path)
    assert left(tmp_path) == []


def refused(config: Config, folder: Path, **settings: object) -> str:
    with pytest.raises(MinkPDError) as caught:
        write(config, folder, **settings)
    assert left(folder) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_settings_that_cannot_be_exported(tmp_path: Path) -> None:
    assert "--opset 10 cannot be written; choose 11 to 20" in refused(pointpillars(), tmp_path, opset=10)
    assert "--int8: needs --opset 13 or later" in refused(pointpillars(), tmp_path, int8=True, opset=12)
    assert "cloud0: has " in refused(pointpillars(), tmp_path, most=20)
    assert "--slots" in refused(pointpillars(max_points=4), tmp_path, slots=8)
    assert "--pillars" in refused(second(), tmp_path, most=8)
    odd = pointpillars()
    odd.data.range = (0.0, -3.2, -3.0, 6.6, 3.2, 1.0)
    assert "33 x 32 cells" in refused(odd, tmp_path)


def test_pointrcnn_has_no_dense_equivalent(tmp_path: Path) -> None:
    detector = build_detector(Config(model=PointRCNNConfig()))
    with pytest.raises(ConfigError, match="pointrcnn: has no dense equivalent"):
        export(detector, source(detector, tmp_path), Settings(), Clouds(), tmp_path / "out", Console())


def test_clouds_out_of_range_prove_nothing(tmp_path: Path) -> None:
    detector = shaken(pointpillars())
    cloud = Frame("far", np.full((9, 4), 500, np.float32))
    with pytest.raises(DataError, match="no cloud has a point"):
        export(detector, source(detector, tmp_path), Settings(), Clouds(cloud), tmp_path / "out", Console())
    assert left(tmp_path) == []


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    detector, folder, _ = write(pointpillars(), tmp_path)
    graph = folder / "pillar_encoder.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"pillar_encoder.onnx: has changed since the export"):
        ExportedDetector(folder)
    graph.unlink()
    with pytest.raises(DataError, match=r"pillar_encoder.onnx: is missing"):
        ExportedDetector(folder)
    graph.write_bytes(whole)
    card = folder / "model.yaml"
    text = card.read_text()
    for wrong in (text.replace("opset: 17", "opset: seventeen"), "a: [", "", text.replace("mink_pd export 1", "2")):
        card.write_text(wrong)
        with pytest.raises(DataError, match=r"model.yaml: .*export again"):
            ExportedDetector(folder)
    for key, number in (("range", "3.0"), ("voxel_size", "4.0"), ("score", "0.1")):
        place = text.index(f"{key}:")
        card.write_text(text[:place] + text[place:].replace(number, "0.7", 1))
        with pytest.raises(DataError, match=r"model.yaml: \w+ is not what config in the same file says"):
            ExportedDetector(folder)
    card.unlink()
    with pytest.raises(DataError, match=r"model.yaml: cannot be read"):
        ExportedDetector(folder)
    card.write_text(text)
    exported = ExportedDetector(folder)
    exported._most = 3
    with pytest.raises(DataError, match=r"cloud0: has \d+ pillars, the graph takes 3"):
        exported(collate([clusters(detector.config)], detector.classes))
