"""Simulated drives of any sensor: MCAP recordings, and some of their scans as labelled clouds.

Each drive goes through its own town with objects of nuScenes' classes.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.config.sensor import SensorConfig
from mink_pd.data.recordings.drive_writer import DriveWriter
from mink_pd.data.recordings.foxglove import Boxes
from mink_pd.errors import ConfigError
from mink_pd.simulator.cast import Caster
from mink_pd.simulator.draws import Rng, frame_rng
from mink_pd.simulator.drive import stop_collisions
from mink_pd.simulator.nuscenes.bodies import BODIES
from mink_pd.simulator.nuscenes.town import Town, random_town
from mink_pd.simulator.sensor import cast_by, echo, turned
from mink_pd.simulator.write import map_processes, new_data_set

VERSION = 1  # to be raised whenever the same seed gives other bytes
POINTS, LABELS, FRAME = "/points", "/labels", "lidar"  # topics, and the frame_id of the clouds
COLUMNS = ("x", "y", "z", "intensity", "ring")  # of a .bin file
START = 1_750_000_000_000_000_000  # time stamp of the first drive [ns]
BETWEEN_DRIVES = 3_600_000_000_000  # time from one drive's start to the next [ns]
_STREAM = 3  # number of the random stream; other simulated data use others


@dataclass(frozen=True)
class DriveSettings:
    """Everything that simulated drives depend on."""

    sensor: SensorConfig
    # (name, body of nuScenes' simulator), e.g. ("Lorry", "truck"). Several bodies may share a name. Other bodies get no
    # labels.
    classes: tuple[tuple[str, str], ...]
    drives: int = 10
    scans: int = 50  # per drive
    every: int = 5  # every Nth scan becomes a labelled cloud
    val: int = 2  # number of drives at the end that make up the val split
    seed: int = 0
    version: int = VERSION


class Turn(NamedTuple):
    """One scan with the labels of objects that have a point."""

    points: np.ndarray  # (P, 4) float32
    ring: np.ndarray  # (P,) float32
    boxes: np.ndarray  # (B, 7) float64
    names: np.ndarray  # (B,)


@dataclass
class DriveSummary:
    """The content of one drive's labelled clouds."""

    points: int
    objects: Counter  # by class


def parse_classes(words: list[str]) -> tuple[tuple[str, str], ...]:
    """The classes of :class:`DriveSettings` from words such as ``car`` and ``Lorry=truck``. Raises ConfigError."""
    pairs = [(name, body or name) for name, _, body in (word.partition("=") for word in words)]
    for name, body in pairs:
        if body not in BODIES:
            raise ConfigError(f"--classes: the simulator has no body '{body}'; choose from {', '.join(BODIES)}")
        if not name or any(character.isspace() for character in name):
            raise ConfigError(f"--classes: '{name}' is not a class name; write NAME or NAME=BODY, without spaces")
    bodies = [body for _, body in pairs]
    twice = next((body for body in bodies if bodies.count(body) > 1), None)
    if twice is not None:
        raise ConfigError(f"--classes: '{twice}' is listed twice; a body belongs to one class")
    return tuple(pairs)


def simulate_drives(
    out: Path,
    settings: DriveSettings,
    workers: int = 1,
    force: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> list[DriveSummary] | None:
    """Write ``drives/NNN.mcap``, and labelled clouds in the layout of ``data.kind: clouds``, to the folder ``out``.

    The folder is written completely or not at all; returns None if it exists already.
    advance: called after each drive.
    Raises DataError if ``out`` cannot be written or holds something else.
    """
    record = asdict(settings) | {
        "sensor": settings.sensor.model_dump(by_alias=True),
        "classes": [list(pair) for pair in settings.classes],
    }
    with new_data_set(out, record, force) as root:
        if root is None:
            return None
        for folder in ("drives", "points", "labels", "splits"):
            (root / folder).mkdir()
        numbers = range(settings.drives)
        for split, part in (
            ("train", numbers[: -settings.val or None]),
            ("val", numbers[len(numbers) - settings.val :]),
        ):
            names = [f"{name}\n" for drive in part for name in labelled_names(settings, drive)]
            (root / "splits" / f"{split}.txt").write_text("".join(names))
        (root / "dataset.yaml").write_text(yaml.safe_dump(_description(settings), sort_keys=False))
        return map_processes(partial(_write_drive, root, settings), numbers, workers, advance)


def labelled_names(settings: DriveSettings, drive: int) -> list[str]:
    """The names of a drive's labelled clouds."""
    return [f"{drive:03d}_{scan:04d}" for scan in range(0, settings.scans, settings.every)]


def drive_turns(settings: DriveSettings, drive: int) -> Iterator[Turn]:
    """The scans of one drive. They depend only on the settings and the drive's number."""
    rng, period = frame_rng(settings.seed, drive, stream=_STREAM), 1 / settings.sensor.rate
    town = random_town(rng, settings.scans * period)
    times = [scan * period for scan in range(settings.scans)]
    stop_collisions(town.scene, {time: town.ego(time) for time in times[::5]})
    lidar = _Lidar(town, settings)
    for time in times:
        yield lidar.turn(time, rng)


class _Lidar:
    """An upright sensor on the car of a town."""

    def __init__(self, town: Town, settings: DriveSettings) -> None:
        self.town, self.sensor = town, settings.sensor
        self.caster = Caster(town.scene)
        rays = cast_by(settings.sensor)  # (L, A, 6)
        self.rays, self.ring = rays.reshape(-1, 6), np.repeat(np.arange(len(rays), dtype=np.float32), rays.shape[1])
        name_of = {body: name for name, body in settings.classes}
        self.labelled = [thing for thing in town.scene.things if thing.name in name_of]
        self.names = np.array([name_of[thing.name] for thing in self.labelled], dtype=object)

    def turn(self, time: float, rng: Rng) -> Turn:
        """One turn of the sensor, simulated as instantaneous."""
        x, y, yaw = self.town.ego(time)
        above = np.array([x, y, self._ground(x, y) + self.sensor.height])
        origin = self.rays[:, :3]
        direction = turned(self.rays[:, 3:], rng.uniform(0, np.radians(self.sensor.azimuth_step)))
        world = np.concatenate([origin + above, turned(direction, yaw)], 1).astype(np.float32)  # (R, 6)
        found = self.caster.cast(time, world)
        hit = found.distance < self.sensor.range
        measured, intensity, kept = echo(rng, *found.select(hit), self.sensor)
        points = np.column_stack([origin[hit] + direction[hit] * measured[:, None], intensity])[kept].astype(np.float32)
        boxes = self._boxes(time, above, yaw)
        seen = np.bincount(pairs_in_boxes(points[:, :3], boxes)[0], minlength=len(boxes)) > 0
        return Turn(points, self.ring[hit][kept], boxes[seen], self.names[seen])

    def _boxes(self, time: float, above: np.ndarray, yaw: float) -> np.ndarray:
        """Upright boxes (N, 7) of all labelled things on the ground, in the LiDAR frame."""
        boxes = np.zeros((len(self.labelled), 7))
        for row, thing in enumerate(self.labelled):
            x, y, heading = thing.at(time)
            boxes[row] = (x, y, self._ground(x, y) + thing.size[2] / 2, *thing.size, heading - yaw)
        boxes[:, :3] = turned(boxes[:, :3] - above, -yaw)
        boxes[:, 6] = (boxes[:, 6] + np.pi) % (2 * np.pi) - np.pi
        return boxes

    def _ground(self, x: float, y: float) -> float:
        return float(self.town.scene.ground.height(np.array(x), np.array(y)))


def _write_drive(root: Path, settings: DriveSettings, drive: int) -> DriveSummary:
    """Write the recording and the labelled clouds of one drive."""
    summary = DriveSummary(0, Counter())
    labelled = set(labelled_names(settings, drive))
    with (root / "drives" / f"{drive:03d}.mcap").open("wb") as file:
        writer = DriveWriter(file)
        for scan, turn in enumerate(drive_turns(settings, drive)):
            time = START + drive * BETWEEN_DRIVES + round(scan * 1e9 / settings.sensor.rate)
            writer.cloud(POINTS, turn.points, time, FRAME)
            writer.boxes(LABELS, Boxes(turn.boxes, turn.names), time, time, FRAME)
            name = f"{drive:03d}_{scan:04d}"
            if name in labelled:
                np.column_stack([turn.points, turn.ring]).astype("<f4").tofile(root / "points" / f"{name}.bin")
                (root / "labels" / f"{name}.txt").write_text(_label_lines(turn))
                summary.points += len(turn.points)
                summary.objects.update(turn.names.tolist())
        writer.finish()
    return summary


def _label_lines(turn: Turn) -> str:
    """``x y z l w h yaw class``, one line per object."""
    rows = zip(turn.boxes, turn.names, strict=True)
    return "".join(" ".join(f"{value:.4f}" for value in box) + f" {name}\n" for box, name in rows)


def _description(settings: DriveSettings) -> dict[str, object]:
    """The content of dataset.yaml, which describes what the clouds' files do not state."""
    return {
        "columns": list(COLUMNS),
        "dtype": "float32",
        "intensity": 1,
        "axes": "x_forward",
        "sensor_height": settings.sensor.height,
        "classes": list(dict.fromkeys(name for name, _ in settings.classes)),
    }
