"""Quantisation: what is rounded, what stays in float, and what it costs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from export.conftest import clusters, shaken
from export.test_write import left, refused, write
from models.frames import centerpoint, pointpillars

from mink_pd.data.loading.batch import collate
from mink_pd.errors import ExportError
from mink_pd.export import quantise as module
from mink_pd.export.card import read_card
from mink_pd.export.detector import ExportedDetector
from mink_pd.export.graph import OnnxSession
from mink_pd.export.networks import Networks, Settings
from mink_pd.export.quantise import output_error, quantise, with_float
from mink_pd.export.runner import make_canvas, torch_runner
from mink_pd.models.bev_detector import BevDetector

onnx = pytest.importorskip("onnx")
nncf = pytest.importorskip("nncf", reason="optional dependency: pip install 'mink_pd[export]'")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """The second graph of a tiny detector, and canvases."""
    folder = tmp_path_factory.mktemp("float")
    detector = shaken(pointpillars())
    assert isinstance(detector, BevDetector)
    networks = Networks(detector, Settings())
    networks.write(folder, folder / "everything.onnx")
    runner, canvases = torch_runner(networks.encoder, networks.network), []
    with torch.inference_mode():
        for seed in range(3):
            voxels = detector.shared_input(collate([clusters(detector.config, seed)], detector.classes))
            canvases.append(make_canvas(detector, runner, voxels, 16).numpy())
    return folder / "backbone_neck_head.onnx", canvases


def convolutions(model) -> list:  # type: ignore[no-untyped-def]
    return [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]


def int8_weights(model) -> set[str]:  # type: ignore[no-untyped-def]
    """The convolutions that read dequantised weights."""
    made = {output: node.op_type for node in model.graph.node for output in node.output}
    return {node.name for node in convolutions(model) if made.get(node.input[1]) == "DequantizeLinear"}


def outputs(path: Path, canvas: np.ndarray) -> list[np.ndarray]:
    return list(OnnxSession(path).run({"canvas": canvas}).values())


def copied(graph: tuple[Path, list[np.ndarray]], folder: Path) -> Path:
    path = folder / "network.onnx"
    path.write_bytes(graph[0].read_bytes())
    return path


def test_all_layers_are_int8_and_their_errors_small(graph: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    path = copied(graph, tmp_path)
    result = quantise(path, graph[1], tmp_path)
    names = {node.name for node in convolutions(onnx.load(graph[0]))}
    assert {layer.name for layer in result.layers} == names
    assert int8_weights(onnx.load(path)) == {layer.name for layer in result.layers if not layer.float32}
    assert all(0 < layer.error < result.all_int8 * 3 for layer in result.layers)
    pairs = [(outputs(path, canvas), outputs(graph[0], canvas)) for canvas in graph[1][: module.PROBES]]
    assert result.error == pytest.approx(output_error(*map(list, zip(*pairs, strict=True))))
    assert 0 < result.error < 0.02


def test_the_worst_layers_stay_in_float(
    graph: tuple[Path, list[np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLOAT_ABOVE", 0.0)
    path = copied(graph, tmp_path)
    result = quantise(path, graph[1], tmp_path)
    in_float = [layer for layer in result.layers if layer.float32]
    assert len(in_float) == len(result.layers) // 4 > 0
    assert min(layer.error for layer in in_float) >= max(x.error for x in result.layers if not x.float32)
    assert int8_weights(onnx.load(path)).isdisjoint(layer.name for layer in in_float)
    assert result.error < result.all_int8
    assert all(layer.name in result_text(result) for layer in result.layers)


def test_what_int8_costs(graph: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    """The AP of a graph, here a stand-in for it, with all layers in float, in int8, and each in float alone."""
    names = {node.name for node in convolutions(onnx.load(graph[0]))}
    wanted = [outputs(graph[0], canvas) for canvas in graph[1]]
    seen: dict[str, set[str]] = {}

    def measure(name: str, path: Path) -> dict[str, float]:
        seen[name] = names - int8_weights(onnx.load(path))
        found = [outputs(path, canvas) for canvas in graph[1]]
        return {"AP": 60 - 1e4 * output_error(found, wanted)}

    path = copied(graph, tmp_path)
    result = quantise(path, graph[1], tmp_path, measure)
    assert seen.pop("as written", set()) == {layer.name for layer in result.layers if layer.float32}
    assert seen == {"float32": names, "int8": set()} | {f"int8 but {name}": {name} for name in names}
    assert result.accuracy is not None
    assert result.accuracy.float32 == {"AP": 60}
    assert result.accuracy.written == measure("as written", path)
    loss = result.accuracy.losses()["AP"]
    assert 0 < loss <= 60 - result.accuracy.all_int8["AP"]
    assert max(layer.left_out["AP"] for layer in result.layers) > result.accuracy.all_int8["AP"]
    text = result_text(result)
    for layer in result.layers:
        assert f"{60 - layer.left_out['AP']:+.2f}" in text
    assert f"{loss:+.2f}" in text.split("as written")[1]
    assert f"{60 - loss:.2f}" in text.split("AP as written")[1]


def test_ranges_are_not_chosen_by_entropy() -> None:
    """One large value among zeros: entropy would clip it. The range is the mean of the canvases' largest values."""
    canvases = [np.zeros((1, 2, 8, 8), np.float32) for _ in range(3)]
    for canvas, largest in zip(canvases, (1.0, 2.0, 30.0), strict=True):
        canvas[0, :, 3, 3] = largest, 0.5
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, 2, 8, 8]) for name in ("canvas", "maps")]
    weights = onnx.helper.make_tensor("weights", 1, [2, 2, 3, 3], np.linspace(-1, 1, 36))
    node = onnx.helper.make_node("Conv", ["canvas", "weights"], ["maps"], name="layer", pads=[1, 1, 1, 1])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "graph", values[:1], values[1:], [weights]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=9,
    )
    quantised = module.quantised_model(model, canvases)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    (node,) = [node for node in quantised.graph.node if node.op_type == "QuantizeLinear"]
    assert node.input[0] == "canvas"
    assert float(constants[node.input[1]]) == pytest.approx((1 + 2 + 30) / 3 / 255)


def result_text(result: module.Quantised) -> str:
    from rich.console import Console

    console = Console(width=120, record=True)
    console.print(result.table())
    return console.export_text()


def test_all_layers_in_float_again_are_the_original(graph: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    original = onnx.load(graph[0])
    data = nncf.Dataset(graph[1], lambda canvas: {"canvas": canvas})
    full = nncf.quantize(original, data, preset=nncf.QuantizationPreset.MIXED, subset_size=3)
    path = tmp_path / "again.onnx"
    again = with_float(full, original, {node.name for node in convolutions(original)})
    path.write_bytes(again.SerializeToString())
    onnx.checker.check_model(again)
    for ours, theirs in zip(outputs(path, graph[1][0]), outputs(graph[0], graph[1][0]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_ruined_outputs_are_refused(
    graph: tuple[Path, list[np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUINED", 0.0)
    path = copied(graph, tmp_path)
    before = path.read_bytes()
    with pytest.raises(ExportError, match="int8 changes the outputs by"):
        quantise(path, graph[1], tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_an_int8_folder_detects(target: str, tmp_path: Path) -> None:
    detector, folder, text = write(centerpoint(), tmp_path, clouds=3, target=target, int8=True)
    assert "as written" in text
    card = read_card(folder)
    assert card.precision == "int8"
    assert set(card.graphs) == {"pillar_encoder", "backbone_neck_head"}
    exported = ExportedDetector(folder)
    batch = collate([clusters(detector.config, 7)], detector.classes)
    with torch.inference_mode():
        wanted, found = detector(batch), exported(batch)
    apart = (found.scores.sigmoid() - wanted.scores.sigmoid()[order(wanted)]).abs()
    assert 0 < float(apart.mean()) < 0.02


def order(prediction) -> torch.Tensor:  # type: ignore[no-untyped-def]
    _, x, y = prediction.coordinates.long().t()
    return (y * 1000 + x).argsort()


def test_tensorrt_quantises_itself(tmp_path: Path) -> None:
    assert "--int8: autoware quantises with its own tools" in refused(centerpoint(
        intensity=False, centre_height=False, max_points=32), tmp_path, target="autoware", int8=True)  # fmt: skip
    assert left(tmp_path) == []
