"""One scene of simulated nuScenes: the car drives, the LiDAR turns, and every tenth turn is annotated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.drive import stop_collisions
from mink_pd.simulator.nuscenes.lidar import PERIOD, Lidar, ego_from_lidar, world_from_ego
from mink_pd.simulator.nuscenes.town import Actor, Town, random_town

SWEEPS = 10  # turns per keyframe, which gives keyframes at 2 Hz
START = 1_532_402_927_000_000  # time stamp of the first scene [us]
BETWEEN_SCENES = 60_000_000  # time from one scene's start to the next [us]
ORIGIN = (1000.0, 1000.0, 0.0)  # of each scene in the map's frame [m]
_STREAM = 2  # number of the random stream; KITTI's frames and drives use others

Record = dict[str, Any]


@dataclass
class SceneRecords:
    """The rows that one scene adds to the tables."""

    tables: dict[str, list[Record]] = field(default_factory=dict)  # by table, in order of time
    points: int = 0  # in the keyframes' own turns
    objects: dict[str, int] = field(default_factory=dict)  # annotations by category


def token(*parts: object) -> str:
    """32 hexadecimal digits that depend only on the parts."""
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def write_scene(root: Path, seed: int, keyframes: int, index: int, name: str) -> SceneRecords:
    """Simulate scene ``index`` and write its LiDAR files below ``root``. It depends on seed, index and keyframes only.

    Each keyframe ends a group of ten turns, so that even the first keyframe has earlier turns.
    """
    rng = frame_rng(seed, index, stream=_STREAM)
    turns = keyframes * SWEEPS
    town = random_town(rng, turns * PERIOD)
    stop_collisions(town.scene, {turn * PERIOD: town.ego(turn * PERIOD) for turn in range(0, turns, 4)})
    lidar = Lidar(town.scene)
    writer = _SceneWriter(root, seed, index, name, keyframes)
    for turn in range(turns):
        ego = world_from_ego(town.scene, town.ego(turn * PERIOD))
        points = lidar.scan(turn * PERIOD, ego @ ego_from_lidar(), rng)
        writer.turn(turn, points, ego)
        if (turn + 1) % SWEEPS == 0:
            writer.keyframe(turn, town, points, ego)
    return writer.finish()


class _SceneWriter:
    """Collects the rows of one scene."""

    def __init__(self, root: Path, seed: int, index: int, name: str, keyframes: int) -> None:
        self.root, self.key, self.name, self.keyframes = root, (seed, index), name, keyframes
        self.start = START + index * BETWEEN_SCENES
        self.log = f"n000-{index:04d}"
        tables = ("log", "scene", "sample", "sample_data", "ego_pose", "instance", "sample_annotation")
        self.records = SceneRecords({table: [] for table in tables})
        self.annotations: dict[tuple[int, int], Record] = {}  # by keyframe, then object
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []  # per keyframe: boxes (N, 7), their points (N,)
        self.actors: Sequence[Actor] = ()
        self.attributes: Sequence[str] = ()

    def token(self, kind: str, *parts: object) -> str:
        return token(*self.key, kind, *parts)

    def turn(self, turn: int, points: np.ndarray, ego: np.ndarray) -> None:
        """Write a turn's file, and add its rows to sample_data and ego_pose."""
        key = (turn + 1) % SWEEPS == 0
        stamp = self.start + round(turn * PERIOD * 1e6)
        folder = "samples" if key else "sweeps"
        file = f"{folder}/LIDAR_TOP/{self.log}__LIDAR_TOP__{stamp}.pcd.bin"
        points.tofile(self.root / file)
        last = turn + 1 == self.keyframes * SWEEPS
        own = self.token("sample_data", turn)
        self.records.tables["sample_data"].append(
            {
                "token": own,
                "sample_token": self.token("sample", turn // SWEEPS),
                "ego_pose_token": own,
                "calibrated_sensor_token": token("calibrated_sensor"),
                "timestamp": stamp,
                "fileformat": "pcd",
                "is_key_frame": key,
                "height": 0,
                "width": 0,
                "filename": file,
                "prev": self.token("sample_data", turn - 1) if turn else "",
                "next": "" if last else self.token("sample_data", turn + 1),
            }
        )
        self.records.tables["ego_pose"].append(
            {
                "token": own,
                "timestamp": stamp,
                "rotation": quaternion(ego[:3, :3]),
                "translation": (ego[:3, 3] + ORIGIN).round(6).tolist(),
            }
        )
        self.records.points += len(points) * key

    def keyframe(self, turn: int, town: Town, points: np.ndarray, ego: np.ndarray) -> None:
        """Add a sample. Its annotations are added at the end, when it is known when each object is first and last
        seen."""
        number = turn // SWEEPS
        self.records.tables["sample"].append(
            {
                "token": self.token("sample", number),
                "timestamp": self.start + round(turn * PERIOD * 1e6),
                "prev": self.token("sample", number - 1) if number else "",
                "next": self.token("sample", number + 1) if number + 1 < self.keyframes else "",
                "scene_token": self.token("scene"),
            }
        )
        if not number:
            self.actors = [thing for thing in town.scene.things if isinstance(thing, Actor)]
            self.attributes = [actor.attribute for actor in self.actors]
        boxes = np.array([_box(town, actor, turn * PERIOD) for actor in self.actors]).reshape(-1, 7)
        lidar = ego @ ego_from_lidar()
        world = points[:, :3].astype(np.float64) @ lidar[:3, :3].T + lidar[:3, 3]  # (P, 3)
        inside = np.bincount(pairs_in_boxes(world, boxes)[0], minlength=len(boxes))
        self.seen.append((boxes, inside))

    def finish(self) -> SceneRecords:
        """All rows. An object is annotated from one keyframe before the first that sees it to one after the last, so
        that its velocity is known in every keyframe that sees it."""
        for row, actor in enumerate(self.actors):
            hits = np.flatnonzero([inside[row] for _, inside in self.seen])
            if len(hits):
                self._annotate(row, actor, range(max(hits[0] - 1, 0), min(hits[-1] + 2, len(self.seen))))
        tables = self.records.tables
        tables["sample_annotation"] = [self.annotations[key] for key in sorted(self.annotations)]
        samples = tables["sample"]
        tables["scene"].append(
            {
                "token": self.token("scene"),
                "name": self.name,
                "description": "simulated",
                "log_token": self.token("log"),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
            }
        )
        tables["log"].append(
            {
                "token": self.token("log"),
                "logfile": self.log,
                "vehicle": "n000",
                "date_captured": "2018-07-24",
                "location": "simulator",
            }
        )
        return self.records

    def _annotate(self, row: int, actor: Actor, when: range) -> None:
        names = {number: self.token("sample_annotation", row, number) for number in when}
        attribute = self.attributes[row]
        for number in when:
            boxes, inside = self.seen[number]
            x, y, z, length, width, height, yaw = boxes[row]
            self.annotations[number, row] = {
                "token": names[number],
                "sample_token": self.token("sample", number),
                "instance_token": self.token("instance", row),
                "visibility_token": "4",  # visibility is not simulated
                "attribute_tokens": [token("attribute", attribute)] if attribute else [],
                "translation": (np.array([x, y, z]) + ORIGIN).round(6).tolist(),
                "size": np.round([width, length, height], 6).tolist(),
                "rotation": quaternion(Rotation.from_euler("z", yaw).as_matrix()),
                "prev": names.get(number - 1, ""),
                "next": names.get(number + 1, ""),
                "num_lidar_pts": int(inside[row]),
                "num_radar_pts": 0,
            }
            name = actor.body.category
            self.records.objects[name] = self.records.objects.get(name, 0) + 1
        self.records.tables["instance"].append(
            {
                "token": self.token("instance", row),
                "category_token": token("category", actor.body.category),
                "nbr_annotations": len(when),
                "first_annotation_token": names[when[0]],
                "last_annotation_token": names[when[-1]],
            }
        )


def _box(town: Town, actor: Actor, time: float) -> tuple[float, ...]:
    """x, y, z of the centre, l, w, h, yaw in the world frame: upright, on the ground."""
    x, y, yaw = actor.at(time)
    z = float(town.scene.ground.height(np.array(x), np.array(y)))
    return (x, y, z + actor.size[2] / 2, *actor.size, yaw)


def quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation matrix (3, 3)."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return [float(value) for value in (w, x, y, z)]
