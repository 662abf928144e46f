"""Sizes of camera images, which determine the camera's view."""

from pathlib import Path

from mink_pd.data.kitti.calibration import Calibration
from mink_pd.errors import DataError
from mink_pd.files import check_regular

SUFFIXES = (".png", ".jpg", ".jpeg")
IMAGE_SIZE = (1242, 375)  # width, height [px] of most of KITTI's images
_CENTRED = 0.1  # largest distance of a camera's optical axis from the image's centre, as a share of the size

Size = tuple[int, int]  # width, height [px]


def size_of_image(path: Path) -> Size | None:
    """Width and height [px] of the image ``path``, or of that name with another suffix; None if there is none.

    Raises DataError if the file is not an image.
    """
    from PIL import Image, UnidentifiedImageError  # detection in clouds does without

    for suffix in SUFFIXES:
        file = path.with_suffix(suffix)
        if not file.exists():
            continue
        check_regular(file, remedy="give an image, or remove it (only its size is used)")
        try:
            with Image.open(file) as image:
                return image.size
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise DataError(f"{file}: is not an image; copy it again, or remove it (only its size is used)") from None
    return None


def usual_size(path: Path, calibration: Calibration) -> Size:
    """KITTI's usual image size, if ``calibration`` belongs to KITTI's camera.

    path: of the calib file.
    Raises DataError for another camera, whose image size is unknown.
    """
    axis = calibration.p2[:2, 2] / calibration.p2[2, 2]  # (2,) [px]
    off = [abs(value / size - 0.5) for value, size in zip(axis, IMAGE_SIZE, strict=True)]
    if not calibration.has_camera or max(off) > _CENTRED:
        raise DataError(
            f"{path}: the camera's image size is unknown, as there is no image and P2 is not KITTI's; set"
            " data.image_size=[width,height], or data.camera_view=false to keep all points"
        )
    return IMAGE_SIZE
