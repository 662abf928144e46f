"""A method, an importance, a data set with its scorer, and a detector, each added from a file outside the package."""

from pathlib import Path

import pytest

from mink_pd.config import load_config
from mink_pd.errors import ConfigError
from mink_pd.models.checkpoint import load_detector
from mink_pd.registry import METHODS, Registry
from mink_pd.train.reporter import read_metrics
from mink_pd.train.start import distil, train_detector

PLUGIN = Path(__file__).with_name("plugin_example.py")
SETTINGS = """
plugins: [{plugin}]
runs: {runs}
data: {{kind: dots, range: [0, -12.8, -3, 32, 12.8, 1], workers: 0, classes: [Car], augment: {{enabled: false}}}}
model: {{name: shy, doubt: 0.25, voxel_size: [0.4, 0.4, 4.0], pillar_channels: 8, channels: [8, 8, 8],
         layers: [1, 1, 1], neck_channels: 8}}
train: {{epochs: 1, batch_size: 2, best_metric: found, accelerator: cpu}}
distill:
  methods: [pointdistiller, mean_gap]
  pointdistiller: {{rows: 8, neighbours: 4, importance: nearness}}
  mean_gap: {{weight: 3, power: 1}}
"""


def test_a_plugin_trains_distils_and_scores_through_the_registries_alone(tmp_path: Path) -> None:
    (tmp_path / "my.py").symlink_to(PLUGIN)
    (tmp_path / "c.yaml").write_text(SETTINGS.format(plugin="my.py", runs=tmp_path / "runs"))
    config = load_config(tmp_path / "c.yaml")
    assert config.distill.section("mean_gap").power == 1
    teacher = train_detector(config)
    student = load_config(tmp_path / "c.yaml", ["name=student", "model.compression=4"])
    run = distil(student, teacher.weights("last"))
    metrics = read_metrics(run.metrics)
    assert any("mean_gap_neck" in entry for entry in metrics)
    assert any("found" in entry for entry in metrics)
    assert (run.results / "counts.txt").read_text().count("\n") == 4
    detector, loaded = load_detector(run.path)
    assert type(detector).__name__ == "ShyPillars"
    assert loaded.model.model_dump()["doubt"] == 0.25
    assert load_config(run.config).distill.section("mean_gap").weight == 3  # from the run folder alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugins: [absent.py]", r"absent\.py: no such plugin"),
        ("plugins: [broken.py]", r"broken\.py: the plugin fails with ZeroDivisionError"),
        ("plugins: [c.yaml]", r"c\.yaml: not a Python file"),
        ("plugins: 5", r"'plugins'"),
        ("distill: {mean_gab: {}}", r"unknown key 'distill\.mean_gab'"),
        ("distill: {pointdistiller: {importance: charm}}", r"'distill\.pointdistiller\.importance'.*channel_max"),
        ("data: {kind: marbles}", r"'data\.kind': must be one of .*kitti"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_a_name_is_given_once() -> None:
    registry = Registry("a.b", "json")
    registry.register("x")(object())
    with pytest.raises(ConfigError, match=r"a\.b: 'x' is registered already"):
        registry.register("x")(object())
    assert "pointdistiller" in METHODS
    with pytest.raises(ConfigError, match="unknown name 'nope'; choose from"):
        METHODS["nope"]
