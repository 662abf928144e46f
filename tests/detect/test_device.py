"""Which device a training takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models.frames import pointpillars

from mink_pd.config import TrainConfig
from mink_pd.detect import device
from mink_pd.errors import ConfigError
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import save_weights
from mink_pd.sparse import ME

HEAVY = (
    "PIL", "lightning", "lightning_fabric", "matplotlib", "numba", "open3d", "rich", "rosbags", "scipy", "sympy",
    "tensorboard", "torch._dynamo", "torch._inductor", "mink_pd.evaluate", "mink_pd.experiments", "mink_pd.render",
    "mink_pd.report", "mink_pd.simulator", "mink_pd.train",
)  # fmt: skip


@pytest.mark.parametrize(("built", "wanted", "given"), [
    (False, "auto", "cpu"), (False, "cpu", "cpu"), (True, "auto", "auto"), (True, "cuda", "cuda"), (True, "cpu", "cpu"),
])  # fmt: skip
def test_auto_is_what_minkowski_is_built_for(
    built: bool, wanted: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyPI's torch finds a GPU by itself; MinkowskiEngine must have been built for it too."""
    monkeypatch.setattr(ME, "is_cuda_available", lambda: built)
    assert device.accelerator(wanted) == given


@pytest.mark.parametrize("wanted", ["cuda", "gpu"])
def test_a_gpu_without_minkowskis_part_is_refused_in_one_line(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ME, "is_cuda_available", lambda: False)
    with pytest.raises(ConfigError, match=r"train.accelerator.*make setup CUDA=1") as error:
        device.launch(TrainConfig(accelerator=wanted))
    assert "\n" not in str(error.value)


def test_each_process_works_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCuda:
        device = torch.device("cuda:0")

    current: list[torch.device] = []
    monkeypatch.setattr(ME, "is_cuda_available", lambda: True)
    monkeypatch.setattr(device, "_fabric", lambda config: OnCuda())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device.own_device(TrainConfig(threads=torch.get_num_threads())) == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")]


def test_detection_on_the_cpu_imports_nothing_that_it_does_without(tmp_path: Path) -> None:
    """Most of these take longer to import than the first detection takes."""
    config = pointpillars()
    save_weights(tmp_path / "weights.safetensors", build_detector(config).state_dict(), config, 1)
    code = "import sys, numpy, mink_pd; detector = mink_pd.load_detector(sys.argv[1]); "
    code += "detector.detect_points(numpy.ones((9, 4), numpy.float32)); "
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "weights.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == "[]\n", done.stderr
