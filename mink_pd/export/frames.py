"""The clouds for comparing and calibrating an export."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mink_pd.config import DataConfig
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.points import with_columns
from mink_pd.detect.clouds import PointFiles

SIMULATED, CALIBRATED = 3, 16  # number of simulated clouds for a comparison alone, and if int8 is calibrated on them


def proof_frames(paths: list[Path] | None, data: DataConfig, most: int = SIMULATED) -> Frames:
    """The clouds at ``paths``, or simulated ones."""
    if paths:
        return PointFiles(paths, None, data.camera_view, data.point_features, data, data.image_size)
    return SimulatedFrames(most, data.point_features)


class SimulatedFrames:
    """Frames of the simulated street, made on access. For a detector with a time lag, the points have the lags of ten
    sweeps in turn, so that the comparison covers this column."""

    def __init__(self, count: int, columns: int, first: int = 0) -> None:
        self.ids = [f"simulated{first + number}" for number in range(count)]
        self.columns, self.first = columns, first

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        from mink_pd.simulator import simulate_frame  # Open3D takes seconds to import

        points = with_columns(simulate_frame(seed=1, frame=self.first + index)[0].points, self.columns)
        if self.columns > 4:
            points[:, 4] = 0.05 * (np.arange(len(points)) % 10)
        return Frame(self.ids[index], points)

    def paths(self, index: int) -> list[Path]:
        """No paths, because the frames do not come from files."""
        return []

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))
