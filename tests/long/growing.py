"""``growing.py train|detect FOLDER``: runs 2,000 steps of a tiny training, or 2,000 detections, and prints its memory.

It measures the memory of the process (VmRSS in MB) after every hundredth step or detection, when all free memory has
been returned to the system.
"""

import gc
import json
import sys
from pathlib import Path

import mink_pd  # noqa: F401  # isort: skip  # before torch
from mink_pd.config import load_config
from mink_pd.data.frame import Frame
from mink_pd.data.points import read_points
from mink_pd.detect.predict import detect_frames
from mink_pd.memory import trim_memory
from mink_pd.models import build_detector
from mink_pd.train.reporter import Reporter
from mink_pd.train.start import train_detector

COUNT, EVERY = 2000, 100
held: list[float] = []


def measure() -> None:
    gc.collect()
    trim_memory()
    status = Path("/proc/self/status").read_text()
    held.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)


def train(folder: Path) -> None:
    """Train for as many epochs as give 2,000 batches of one frame."""
    original = Reporter.step

    def step(self, epoch, number, *rest):  # type: ignore[no-untyped-def]
        original(self, epoch, number, *rest)
        if number % EVERY == 0:
            measure()

    Reporter.step = step  # type: ignore[method-assign]
    train_detector(load_config(folder / "tiny.yaml", ["name=long"]))


def detect(folder: Path) -> None:
    """Detect repeatedly in the clouds of a folder."""
    config = load_config(folder / "tiny.yaml")
    detector = build_detector(config).eval()
    clouds = [read_points(path) for path in sorted((folder / "kitti" / "training" / "velodyne").iterdir())]
    frames = (Frame(f"{number:06d}", clouds[number % len(clouds)].copy()) for number in range(COUNT))
    for number, _ in enumerate(detect_frames(detector, frames, config), start=1):
        if number % EVERY == 0:
            measure()


if __name__ == "__main__":
    {"train": train, "detect": detect}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(held))
