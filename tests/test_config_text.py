"""What may be written in a configuration, and what is refused: text stays text, nothing is cut, nothing explodes."""

from pathlib import Path

import pytest

from mink_pd.config import Config, assignment, dump_config, load_config, override
from mink_pd.errors import ConfigError


def load(folder: Path, text: str | bytes, *overrides: str) -> Config:
    (folder / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(folder / "x.yaml", list(overrides))


@pytest.mark.parametrize(
    "text", ["0123", "2011-09-26", "1.50", "no", "1e3", "0x1F", "1:30", "run #1", "a: b", "-", "5"]
)
def test_text_stays_text(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "", f"name={text}").name == text
    assert load(tmp_path, "", f'name="{text}"').name == text
    if ":" not in text and text != "-":
        assert load(tmp_path, f"name: {text}").name == text.removesuffix(" #1")  # a comment, in a file
    config = load(tmp_path, "", f"name={text}")
    assert load(tmp_path, dump_config(config)) == config
    assert load(tmp_path, "", f"data.root={text}").data.root == Path(text)
    assert load(tmp_path, "", assignment("name", f"[{text}] ~é\"'")).name == f"[{text}] ~é\"'"


def test_lists_and_keys_of_text(tmp_path: Path) -> None:
    numbers = "data: {classes: [1, 02, yes], augment: {ground_truth_sampling: {1: 5}}}\nmodel: {anchors: {%s}}"
    anchor = "{size: [1, 1, 1], z: 0, matched: 0.6, unmatched: 0.4}"
    config = load(tmp_path, numbers % ", ".join(f"{name}: {anchor}" for name in ("1", "02", "yes")))
    assert config.data.classes == ["1", "02", "yes"]
    assert config.data.augment.ground_truth_sampling == {"1": 5}


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    config = load(tmp_path, "train: {epochs: 010, learning_rate: 1e-4}", "train.weight_decay=.5", "seed=+7")
    assert (config.train.epochs, config.train.learning_rate) == (10, 1e-4)
    assert (config.train.weight_decay, config.seed) == (0.5, 7)


def test_a_comment_within_a_list_is_refused_and_not_cut(tmp_path: Path) -> None:
    assert load(tmp_path, "", 'data.classes=["Car"]').data.classes == ["Car"]
    for value in ("[Car] # not Van", "[Car #, Van]"):
        with pytest.raises(ConfigError, match=r"data\.classes.*comment"):
            load(tmp_path, "", f"data.classes={value}")


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("seed: 3")
    config = load(tmp_path, "base: ~/base.yaml", "data.root=~/kitti", "runs=~")
    assert (config.data.root, config.runs, config.seed) == (tmp_path / "kitti", tmp_path, 3)
    with pytest.raises(ConfigError, match=r"'data\.root': no home folder"):
        load(tmp_path, "", "data.root=~nobody-of-this-name/x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: 5", "'base' must be the path"),
        ("base: {a: 1}", "'base' must be the path"),
        ("base: [[a]]", "'base' must be the path"),
        ("base: 2011-09-26", "2011-09-26: cannot be read"),
        ("base: .", "is a folder"),
        ('base: "a\\0b"', "'base' must be the path"),
        ("base: x.yaml", "remove the loop"),
        ("a: &a [*a]", "within itself"),
        ("a: &a {b: *a}", "within itself"),
        ("- 1", "not a list"),
        ("just text", "not the single value 'just text'"),
        ("seed: 1\nseed: 2", "line 2: not valid YAML (key 'seed' stands here twice)"),
        ("seed: !!python/object/apply:os.getcwd []", "tag"),
        ("seed: !!binary aGk=", "tag binary"),
        ("? [a, b]\n: 1", "a key must be text"),
        ("seed: [", "line 1"),
        ("seed: " + "[" * 5000, "not valid YAML"),
        ("seed: -1", "'seed'"),
        ("seed: 4294967296", "'seed'"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("train: {learning_rate: .nan}", "'train.learning_rate'"),
        ("model: {loss: {box: .inf}}", "'model.loss.box'"),
        ("x: \x07", "not valid YAML"),
        ("s: 1".encode("utf-16"), "unknown key 's'"),
        (b"name: \xe9", "not a text file in UTF-8"),
        (b"#" * 300_000, "300,000 bytes"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_aliases_cannot_explode(tmp_path: Path) -> None:
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 20)]
    maps = ["m0: &m0 {a: 1}"]
    maps += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 20)]
    for text in ("\n".join(levels), "\n".join(maps)):
        with pytest.raises(ConfigError, match="more than 20,000 values"):
            load(tmp_path, text)


def test_anchors_and_merges_work_as_in_yaml(tmp_path: Path) -> None:
    config = load(tmp_path, "train: &t {epochs: 3, batch_size: 7}\nname: x\n").train
    again = load(tmp_path, "train: {<<: {epochs: 3, batch_size: 9}, batch_size: 7}").train
    assert config == again


def test_bases_cannot_explode(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.yaml").write_text(f"base: [{', '.join([f'{i + 1}.yaml'] * 10)}]")
    (tmp_path / "8.yaml").write_text("seed: 1")
    with pytest.raises(ConfigError, match="more than 100 files"):
        load(tmp_path, "base: 0.yaml")


def test_settings_over_a_configuration() -> None:
    config = override(Config(), ["train.epochs=3", "name=07"])
    assert (config.train.epochs, config.name) == (3, "07")
    with pytest.raises(ConfigError, match=r"command line: unknown key 'train\.epoch'"):
        override(Config(), ["train.epoch=3"])
