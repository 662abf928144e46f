"""The part of building a wheel that pyproject.toml cannot express: a copy of configs/ inside the package."""

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Builds the package, and copies configs/ to mink_pd/configs, where mink_pd.config.shipped looks first."""

    def run(self) -> None:
        """Build. An editable install needs no copy, because it finds configs/ next to the package."""
        super().run()
        if not self.editable_mode:
            copy = Path(self.build_lib, "mink_pd", "configs")
            shutil.rmtree(copy, ignore_errors=True)  # of an earlier build
            shutil.copytree("configs", copy)
