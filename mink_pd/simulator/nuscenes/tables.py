"""The nuScenes version folder, and its tables that are the same for every scene."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from mink_pd.simulator.nuscenes.drive import Record, SceneRecords, quaternion, token
from mink_pd.simulator.nuscenes.lidar import ROTATION, TRANSLATION

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
VISIBILITIES = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
MAP = "maps/simulator.png"


def write_tables(root: Path, version: str, scenes: Iterable[SceneRecords]) -> None:
    """Write the thirteen tables of a version folder, and the mask of its only map, which is drivable everywhere."""
    tables: dict[str, list[Record]] = {
        "category": [_named("category", name) for name in CATEGORIES],
        "attribute": [_named("attribute", name) for name in ATTRIBUTES],
        "visibility": [{"token": key, "level": level, "description": level} for key, level in VISIBILITIES.items()],
        "sensor": [{"token": token("sensor"), "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [
            {
                "token": token("calibrated_sensor"),
                "sensor_token": token("sensor"),
                "translation": list(TRANSLATION),
                "rotation": quaternion(ROTATION.as_matrix()),
                "camera_intrinsic": [],
            }
        ],
    }
    for scene in scenes:
        for table, records in scene.tables.items():
            tables.setdefault(table, []).extend(records)
    logs = [record["token"] for record in tables["log"]]
    tables["map"] = [{"token": token("map"), "category": "semantic_prior", "filename": MAP, "log_tokens": logs}]
    (root / version).mkdir()
    for table, records in tables.items():
        (root / version / f"{table}.json").write_text(json.dumps(records, indent=0) + "\n")
    (root / MAP).parent.mkdir()
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(root / MAP)


def _named(table: str, name: str) -> Record:
    return {"token": token(table, name), "name": name, "description": ""}
