"""Lightning's strategy for several processes, as :func:`mink_pd.detect.device.launch` uses it."""

from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn


class DataParallel(DDPStrategy):
    """Lightning's processes without torch's wrapper around the module: ``train.parallel`` adds the gradients up."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """The module itself: its state keeps its names."""
        return module
