"""Settings of the training."""

from typing import Literal

from pydantic import Field

from mink_pd.config.section import Folder, Section


class TrainConfig(Section):
    """Optimiser, schedule and intervals of output."""

    # Run folder or weights file to start from, of any classes and range; tensors that fit are used. None: random.
    initial: Folder | None = None
    epochs: int = Field(80, ge=1)
    batch_size: int = Field(4, ge=1)  # frames per process; a step has batch_size x devices x nodes x accumulate
    accumulate: int = Field(1, ge=1)  # batches per step
    sync_norm: bool = False  # batch norm over the rows of all processes; false: of each process
    learning_rate: float = Field(3e-3, gt=0)  # the peak of the one-cycle schedule
    weight_decay: float = Field(0.01, ge=0)
    warm_up: float = Field(0.4, gt=0, lt=1)  # share of the steps before the peak
    max_grad_norm: float = Field(10.0, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)  # decay of the moving average of the weights
    validate_every: int = Field(5, ge=0)  # epochs, 0: only after the last
    best_metric: str = "mAP_3d"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)  # processes per node
    nodes: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)  # of torch and OpenMP; None: all cores
