"""``mink-pd export --to engine``."""

import argparse

import numpy as np
import pytest
from engine_cases import EXPORTED, cloud

from mink_pd.commands import export
from mink_pd.detect.engine import Engine
from mink_pd.errors import ConfigError, DataError, ExportError
from mink_pd.export import engine as engine_export
from mink_pd.export.compare import Agreement
from mink_pd.models import Detector


def test_the_file_is_written_once_it_is_compared(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main(options)
    assert "boxes equal to the detector's on 1 clouds" in capsys.readouterr().out
    content = options.out.read_bytes()
    assert len(Engine(content).detect(cloud(EXPORTED).points).boxes) > 5
    with pytest.raises(ConfigError, match="--force replaces it"):
        export.main(options)
    options.force = True
    export.main(options)
    assert options.out.read_bytes() == content


def test_a_comparison_without_boxes_is_no_proof(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = engine_export.EngineReport(2, Agreement(), 1000)
    monkeypatch.setattr(export, "export_engine", lambda *_: report)
    export.main(options)
    assert "no box was compared" in " ".join(capsys.readouterr().out.split())


def test_an_engine_that_finds_other_boxes_writes_nothing(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = engine_export.engine_file

    def wrong(detector: Detector) -> bytes:
        detector.get_parameter("head.box.bias").data[0] += 0.01
        content = right(detector)
        detector.get_parameter("head.box.bias").data[0] -= 0.01
        return content

    monkeypatch.setattr(engine_export, "engine_file", wrong)
    with pytest.raises(ExportError, match="finds other objects than the detector"):
        export.main(options)
    assert not options.out.exists()


def test_wrong_options_are_refused_before_anything_is_computed(options: argparse.Namespace) -> None:
    options.slots = 16
    with pytest.raises(ConfigError, match="--slots"):
        export.main(options)
    options.slots, options.out = None, options.out.with_suffix(".onnx")
    with pytest.raises(ConfigError, match=r"ends in \.mpd"):
        export.main(options)
    options.out = options.out.with_suffix(".mpd")
    options.out.mkdir()
    for options.force in (False, True):
        with pytest.raises(DataError, match=r"student\.mpd: cannot be written \(it is a folder\)"):
            export.main(options)
    options.out.rmdir()
    options.out, options.force = options.frames[0] / "student.mpd", False
    with pytest.raises(DataError, match=r"student\.mpd: cannot be written \(.* is a file\)"):
        export.main(options)
    options.out = options.frames[0].with_name("student.mpd")
    np.array([[500, 0, 0, 0.5]] * 9, np.float32).tofile(options.frames[0])
    with pytest.raises(DataError, match="no cloud has a point in the detector's range"):
        export.main(options)
    assert not options.out.exists()
