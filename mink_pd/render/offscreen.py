"""Pictures of scenes without a display."""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from mink_pd.errors import DataError, MinkPDError
from mink_pd.files import whole_file
from mink_pd.render.camera import Camera
from mink_pd.render.scene import Scene

_SUPERSAMPLING = 2
_TIMEOUT = 300  # [s]; a software renderer needs about one second per picture
_PACKAGES = "libvulkan1 mesa-vulkan-drivers libgl1 libegl1 libusb-1.0-0"


def render_images(shots: list[tuple[Scene, Camera, tuple[int, int]]]) -> list[np.ndarray]:
    """Draw each scene through its camera at its size (width, height); returns uint8 pictures (height, width, 3).

    Raises MinkPDError if Open3D cannot render; its message names the packages to install.
    """
    with tempfile.TemporaryDirectory(prefix="mink_pd_render_") as folder:
        jobs, pictures = Path(folder, "jobs.pickle"), Path(folder, "pictures.npz")
        jobs.write_bytes(pickle.dumps([(*shot, _SUPERSAMPLING) for shot in shots]))
        _run_worker(jobs, pictures)
        with np.load(pictures) as drawn:
            return [_reduce(drawn[name]) for name in drawn.files]


def render_png(scene: Scene, camera: Camera, path: Path, width: int = 1600, height: int = 900) -> None:
    """Draw one scene into a PNG file. Raises the errors of :func:`render_images` and :func:`save_png`."""
    (picture,) = render_images([(scene, camera, (width, height))])
    save_png(Image.fromarray(picture), path)


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a PNG file completely or not at all; creates its folder. Raises DataError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{path.parent}: cannot be created ({error.strerror}); choose another folder"
        raise DataError(message) from None
    with whole_file(path, "wb") as file:
        picture.save(file, format="PNG", optimize=True)


def _run_worker(jobs: Path, pictures: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "mink_pd.render.worker", str(jobs), str(pictures)]
    environment = {**os.environ, "PYTHONPATH": search}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise MinkPDError(f"off-screen rendering took more than {_TIMEOUT} s; try a smaller picture") from error
    if done.returncode != 0 or not pictures.exists():
        raise MinkPDError(
            f"Open3D cannot render off screen ({_reason(done)}); it needs a Vulkan driver, on Debian or "
            f"Ubuntu: apt-get install {_PACKAGES}"
        )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line of the worker's log that describes the failure."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or line.startswith("in ")]
    return (telling or lines or [f"exit code {done.returncode}"])[-1]


def _reduce(picture: np.ndarray) -> np.ndarray:
    """Average blocks of pixels, which smooths edges."""
    height, width = picture.shape[0] // _SUPERSAMPLING, picture.shape[1] // _SUPERSAMPLING
    blocks = picture.reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING, 3).astype(np.float32)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
