"""Which device a training takes."""

import pytest
import torch

from mink_pd.config import TrainConfig
from mink_pd.detect import device
from mink_pd.errors import ConfigError
from mink_pd.sparse import ME


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
    monkeypatch.setattr(device, "_fabric", lambda config: OnCuda())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device.own_device(TrainConfig(threads=torch.get_num_threads())) == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")]
