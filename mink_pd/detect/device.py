"""The device, precision, processes and threads that this process works with."""

import logging
import os
import warnings
from typing import TYPE_CHECKING

import torch

from mink_pd.config import TrainConfig
from mink_pd.errors import ConfigError
from mink_pd.memory import keep_memory
from mink_pd.processes import rank_and_world
from mink_pd.sparse import ME
from mink_pd.threads import cores

if TYPE_CHECKING:  # Lightning imports torch's compiler, which takes two seconds; detection on the CPU does without
    from lightning_fabric import Fabric


def launch(config: TrainConfig) -> "Fabric":
    """Device, precision and processes, by Lightning Fabric, whose own messages are suppressed.

    Raises ConfigError if this machine lacks what the configuration requires, or if torchrun has started a different
    number of processes.
    """
    started, wanted = rank_and_world()[1], config.devices * config.nodes
    if started not in (1, wanted):
        raise ConfigError(
            f"torchrun started {started} processes, and train.devices x train.nodes is {wanted};"
            " set train.devices to its --nproc-per-node and train.nodes to its --nnodes"
        )
    set_threads(config)
    fabric = _fabric(config)
    fabric.launch()
    return fabric


def own_device(config: TrainConfig) -> torch.device:
    """The device of a process that works for itself, which may be one of several on this machine."""
    set_threads(config.model_copy(update={"devices": int(os.environ.get("LOCAL_WORLD_SIZE", "1"))}))
    if accelerator(config.accelerator) == "cpu":
        keep_memory()
        return torch.device("cpu")
    device = _fabric(config.model_copy(update={"devices": 1, "nodes": 1})).device
    if device.type != "cuda":
        return device
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)  # MinkowskiEngine works on the current one, wherever its tensors are
    return device


def accelerator(wanted: str) -> str:
    """Lightning's accelerator: ``auto`` is the CPU if MinkowskiEngine is built for it, even if torch has a GPU.

    Raises ConfigError for a GPU that MinkowskiEngine is not built for.
    """
    if ME.is_cuda_available():
        return wanted
    if wanted in ("cuda", "gpu"):
        raise ConfigError(f"'train.accelerator': MinkowskiEngine is not built for {wanted}; run make setup CUDA=1")
    return "cpu" if wanted == "auto" else wanted


def _fabric(config: TrainConfig) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from mink_pd.detect.data_parallel import DataParallel

    keep_memory()
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning_fabric")
    try:
        fabric = Fabric(
            accelerator=accelerator(config.accelerator),
            devices=config.devices,
            num_nodes=config.nodes,
            precision=config.precision,
            strategy=DataParallel() if config.devices * config.nodes > 1 else "auto",
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"'train.accelerator', 'train.devices' or 'train.precision' do not fit: {reason}") from None
    # Fabric would round a batch's points and boxes, in bfloat16 by up to 25 cm. Layers round what they multiply.
    setattr(fabric.strategy.precision, "convert_input", lambda batch: batch)  # noqa: B010, a method
    return fabric


def set_threads(config: TrainConfig) -> None:
    """Give torch (and the OpenMP it shares with MinkowskiEngine) the configured number of threads.

    By default processes on one machine share its cores.
    """
    most = max(1, cores() // config.devices)
    torch.set_num_threads(config.threads or min(torch.get_num_threads(), most))
