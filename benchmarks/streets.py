"""Statistics of labelled KITTI frames, to compare simulated ones with real ones:

python -m benchmarks.streets REAL:fold0_train data/varied:train data/street:train
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.images import IMAGE_SIZE

DARK = 0.005  # an intensity below it is 0 in hundredths
ROAD_BANDS = ((5, 10), (10, 20), (20, 30), (30, 40))  # [m]
CAR_BANDS = ((5, 10), (10, 20), (20, 30), (30, 40))


class Car(NamedTuple):
    """A car that nothing hides, and its points."""

    box: np.ndarray  # (7,)
    points: np.ndarray  # (P, 4)

    @property
    def distance(self) -> float:
        """Of its centre from the LiDAR, over the ground [m]."""
        return float(np.hypot(*self.box[:2]))

    def height(self) -> np.ndarray:
        """Heights (P,) of the points: 0 at the bottom of the box, 1 at its top."""
        return (self.points[:, 2] - self.box[2]) / self.box[5] + 0.5

    def depth(self) -> np.ndarray:
        """Depths (P,) [m] of the points behind the end of the box that faces the LiDAR."""
        cos, sin = np.cos(self.box[6]), np.sin(self.box[6])
        along = (self.points[:, :2] - self.box[:2]) @ (cos, sin)
        return self.box[3] / 2 + along * np.sign(self.box[:2] @ (cos, sin))

    @property
    def end_on(self) -> bool:
        """Whether the LiDAR sees an end of the car rather than a side."""
        cosine = self.box[:2] @ (np.cos(self.box[6]), np.sin(self.box[6])) / self.distance
        return bool(abs(cosine) > 0.75)


class Street:
    """The frames of a split of KITTI's layout."""

    def __init__(self, dataset: Kitti) -> None:
        self.frames: list[Frame] = [dataset[row] for row in range(len(dataset))]
        self.cars = list(self._clear_cars())
        self.planes = np.array([road_plane(frame.points) for frame in self.frames])  # (F, 3)

    def _clear_cars(self) -> Iterator[Car]:
        for frame in self.frames:
            assert frame.objects is not None
            objects = frame.objects
            clear = (objects.names == "Car") & (objects.occluded == 0) & (objects.truncated < 0.05)
            for box in frame.boxes[clear]:
                yield Car(box, frame.points[pairs_in_boxes(frame.points, box[None])[1]])

    def labels(self, name: str) -> np.ndarray:
        """Boxes (B, 7) of a class."""
        return np.concatenate([frame.boxes[frame.names == name] for frame in self.frames])

    def road(self, near: float, far: float) -> np.ndarray:
        """Points (P, 4) of the road within 4 m of the middle, at a distance [m]."""
        found = []
        for frame, plane in zip(self.frames, self.planes, strict=True):
            points = frame.points
            height = points[:, 2] - plane[0] - points[:, :2] @ plane[1:]
            distance = np.hypot(points[:, 0], points[:, 1])
            on_road = (np.abs(height) < 0.2) & (np.abs(points[:, 1]) < 4)
            found.append(points[on_road & (distance >= near) & (distance < far)])
        return np.concatenate(found)

    def seen(self, near: float, far: float, fewest: int = 1) -> list[Car]:
        """Cars at a distance [m] with at least ``fewest`` points."""
        return [car for car in self.cars if near <= car.distance < far and len(car.points) >= fewest]


def road_plane(points: np.ndarray) -> np.ndarray:
    """Height [m] below the LiDAR and slopes along x and y (3,) of the road ahead, by least squares without outliers."""
    x, y, z = points[:, :3].T
    near = points[(x > 4) & (x < 30) & (np.abs(y) < 5) & (np.abs(z + 1.7) < 0.6), :3].astype(np.float64)
    columns, kept = np.column_stack([np.ones(len(near)), near[:, :2]]), np.ones(len(near), bool)
    for _ in range(8):
        plane = np.linalg.lstsq(columns[kept], near[kept, 2], rcond=None)[0]
        kept = np.abs(near[:, 2] - columns @ plane) < 0.12
    return plane


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean, or NaN of nothing: a small set may have no car in a band."""
    return float(np.mean(values)) if len(values) else float("nan")


def _median(values: Sequence[float] | np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def dark_road(street: Street, near: float = 30, far: float = 40) -> float:
    """Share of the points of the road that have no intensity."""
    return _mean(street.road(near, far)[:, 3] < DARK)


def dark_cars(street: Street) -> float:
    """Mean over cars of the share of points that have no intensity."""
    return _mean([float(np.mean(car.points[:, 3] < DARK)) for car in street.seen(0, 80, 30)])


def upper_echoes(street: Street, near: float = 30, far: float = 80) -> float:
    """Mean over cars of the share of points in the upper three eighths of the box: windows and roof."""
    return _mean([float(np.mean(car.height() > 5 / 8)) for car in street.seen(near, far, 9)])


def end_depth(street: Street, low: float, high: float) -> float:
    """Median depth [m] of the points of cars seen end-on, at a share of their height."""
    depths = [
        car.depth()[(car.height() >= low) & (car.height() < high)] for car in street.seen(0, 32, 40) if car.end_on
    ]
    joined = np.concatenate(depths)
    return float(np.median(joined[joined < 1.2]))


def along_road(street: Street) -> float:
    """Share of cars that point within 15 degrees of the LiDAR's x axis."""
    return float(np.mean(np.abs(np.sin(street.labels("Car")[:, 6])) < np.sin(np.radians(15))))


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std():.3f}"


def _bands(of: Callable[[float, float], float], bands: tuple[tuple[int, int], ...], digits: int = 2) -> str:
    return " / ".join(f"{of(*band):.{digits}f}" for band in bands)


def rows(street: Street) -> dict[str, str]:
    """The figures of a street, by title."""
    sizes = street.labels("Car")[:, 3:6]
    bottoms = street.labels("Car")[:, 2] - street.labels("Car")[:, 5] / 2
    names = np.concatenate([frame.names for frame in street.frames])
    counted = [np.mean(names == name) * len(names) / len(street.frames) for name in ("Car", "Pedestrian", "Cyclist")]
    return {
        "frames": str(len(street.frames)),
        "cars / pedestrians / cyclists a frame": " / ".join(f"{count:.1f}" for count in counted),
        "points a frame": f"{np.mean([len(frame.points) for frame in street.frames]):,.0f}",
        "cars: mean l, w, h [m]": " / ".join(f"{value:.2f}" for value in sizes.mean(0)),
        "cars along the road": f"{along_road(street):.2f}",
        "road: height below the LiDAR [m]": _spread(street.planes[:, 0]),
        "road: slope ahead": _spread(street.planes[:, 1]),
        "road: slope to the left": _spread(street.planes[:, 2]),
        "bottoms of cars: 5 / 50 / 95 % [m]": " / ".join(f"{v:.2f}" for v in np.percentile(bottoms, (5, 50, 95))),
        "road: points without intensity at 5-10 / 10-20 / 20-30 / 30-40 m": _bands(
            lambda near, far: dark_road(street, near, far), ROAD_BANDS
        ),
        "road: mean intensity, likewise": _bands(lambda near, far: _mean(street.road(near, far)[:, 3]), ROAD_BANDS),
        "cars: points without intensity": f"{dark_cars(street):.2f}",
        "cars: share of points in the upper 3/8 at 10-20 / 20-30 / 30-40 m": _bands(
            lambda near, far: upper_echoes(street, near, far), CAR_BANDS[1:]
        ),
        "cars: median number of points at 5-10 / 10-20 / 20-30 / 30-40 m": _bands(
            lambda near, far: _median([len(car.points) for car in street.seen(near, far)]), CAR_BANDS, 0
        ),
        "cars: depth behind the near end at 0.2-0.5 / 0.5-0.6 / 0.6-0.7 of the height [m]": _bands(
            lambda low, high: end_depth(street, low / 10, high / 10), ((2, 5), (5, 6), (6, 7))
        ),
    }


def main() -> None:
    """Print one column for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="ROOT:SPLIT", help="folder and split of frames in KITTI's layout")
    sets = parser.parse_args().sets
    splits = [one.rpartition(":")[::2] for one in sets]
    columns = [rows(Street(Kitti(root, split, image_size=IMAGE_SIZE))) for root, split in splits]
    table = Table("", *sets)
    for title in columns[0]:
        table.add_row(title, *(column[title] for column in columns))
    Console(width=200, markup=False).print(table)


if __name__ == "__main__":
    main()
