"""Simulated drives of any sensor: MCAP recordings, and some of their scans as labelled clouds.

Each drive goes through a town of its own, whose things belong to the classes of nuScenes.
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
from mink_pd.simulator.write import each, whole_data_set

VERSION = 1  # raise it whenever the same seed would give other bytes
POINTS, LABELS, FRAME = "/points", "/labels", "lidar"  # topics, and the clouds' frame of reference
COLUMNS = ("x", "y", "z", "intensity", "ring")  # of a .bin file
START = 1_750_000_000_000_000_000  # of the first drive [ns]
BETWEEN_DRIVES = 3_600_000_000_000  # [ns]
_STREAM = 3  # of random numbers; other simulated data have others


@dataclass(frozen=True)
class DriveSettings:
    """Everything that simulated drives depend on.

    classes: (name, body of nuScenes' simulator), such as ("Lorry", "truck"); several bodies may share a name, and what
    is not listed stays unlabelled. scans: of each drive. every: each so-manieth scan is written as a labelled cloud.
    val: the last so many drives are in the val split. sensor: as in its file.
    """

    sensor: SensorConfig
    classes: tuple[tuple[str, str], ...]
    drives: int = 10
    scans: int = 50
    every: int = 5
    val: int = 2
    seed: int = 0
    version: int = VERSION


class Turn(NamedTuple):
    """points float32 (P, 4), ring float32 (P,), boxes float64 (B, 7) that hold a point and their names (B,)."""

    points: np.ndarray
    ring: np.ndarray
    boxes: np.ndarray
    names: np.ndarray


@dataclass
class DriveSummary:
    """What the labelled clouds of one drive hold: points, and objects by class."""

    points: int
    objects: Counter


def parse_classes(words: list[str]) -> tuple[tuple[str, str], ...]:
    """``car`` or ``Lorry=truck``: the classes of :class:`DriveSettings`. Raises ConfigError."""
    pairs = [(name, body or name) for name, _, body in (word.partition("=") for word in words)]
    for name, body in pairs:
        if body not in BODIES:
            raise ConfigError(f"--classes: '{body}' is no body of the simulator; choose from {', '.join(BODIES)}")
        if not name or any(character.isspace() for character in name):
            raise ConfigError(f"--classes: '{name}' is no class name; write NAME or NAME=BODY, without spaces")
    bodies = [body for _, body in pairs]
    twice = next((body for body in bodies if bodies.count(body) > 1), None)
    if twice is not None:
        raise ConfigError(f"--classes: '{twice}' belongs to two classes; list it once")
    return tuple(pairs)


def simulate_drives(
    out: Path,
    settings: DriveSettings,
    workers: int = 1,
    force: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> list[DriveSummary] | None:
    """Write ``drives/NNN.mcap``, and labelled clouds in the layout of ``data.kind: clouds``, to the folder ``out``.

    Whole or not at all; None if it is there already. ``advance`` is called after each drive. Raises DataError when
    ``out`` cannot be written or holds something else.
    """
    record = asdict(settings) | {
        "sensor": settings.sensor.model_dump(by_alias=True),
        "classes": [list(pair) for pair in settings.classes],
    }
    with whole_data_set(out, record, force) as root:
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
        summaries = []
        for summary in each(partial(_write_drive, root, settings), numbers, workers):
            summaries.append(summary)
            advance()
    return summaries


def labelled_names(settings: DriveSettings, drive: int) -> list[str]:
    """The names of a drive's labelled clouds."""
    return [f"{drive:03d}_{scan:04d}" for scan in range(0, settings.scans, settings.every)]


def drive_turns(settings: DriveSettings, drive: int) -> Iterator[Turn]:
    """The scans of one drive; depends on the settings and its number alone."""
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
        """One turn, which takes no time."""
        x, y, yaw = self.town.ego(time)
        above = np.array([x, y, self._ground(x, y) + self.sensor.height])
        origin = self.rays[:, :3]
        direction = turned(self.rays[:, 3:], rng.uniform(0, np.radians(self.sensor.azimuth_step)))
        world = np.concatenate([origin + above, turned(direction, yaw)], 1).astype(np.float32)  # (R, 6)
        found = self.caster.meet(time, world)
        hit = found.distance < self.sensor.range
        measured, intensity, kept = echo(rng, *found.only(hit), self.sensor)
        points = np.column_stack([origin[hit] + direction[hit] * measured[:, None], intensity])[kept].astype(np.float32)
        boxes = self._boxes(time, above, yaw)
        seen = np.bincount(pairs_in_boxes(points[:, :3], boxes)[0], minlength=len(boxes)) > 0
        return Turn(points, self.ring[hit][kept], boxes[seen], self.names[seen])

    def _boxes(self, time: float, above: np.ndarray, yaw: float) -> np.ndarray:
        """(N, 7) box of every labelled thing in the LiDAR frame: upright, on the ground."""
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
    """One drive's recording and its labelled clouds."""
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
    """``x y z l w h yaw class``, a line an object."""
    rows = zip(turn.boxes, turn.names, strict=True)
    return "".join(" ".join(f"{value:.4f}" for value in box) + f" {name}\n" for box, name in rows)


def _description(settings: DriveSettings) -> dict[str, object]:
    """dataset.yaml: what no cloud says of itself."""
    return {
        "columns": list(COLUMNS),
        "dtype": "float32",
        "intensity": 1,
        "axes": "x_forward",
        "sensor_height": settings.sensor.height,
        "classes": list(dict.fromkeys(name for name, _ in settings.classes)),
    }
