import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mink_pd.boxes.camera import lidar_to_camera
from mink_pd.boxes.geometry import corners, points_in_boxes
from mink_pd.data import open_dataset
from mink_pd.data.datasets.kitti_dataset import Kitti, KittiConfig
from mink_pd.data.kitti.calibration import Calibration, read_calibration, write_calibration
from mink_pd.data.kitti.labels import read_objects, write_objects
from mink_pd.data.kitti.projection import detections_to_objects, in_camera_view, project_boxes
from mink_pd.errors import DataError


def devkit_corners(location: np.ndarray, size: np.ndarray, rotation_y: float) -> np.ndarray:
    """Corners (8, 3) in the camera frame as the devkit's computeBox3D has them."""
    h, w, l = size  # noqa: E741
    local = np.array([[x * l / 2, y, z * w / 2] for y in (0, -h) for x in (1, -1) for z in (1, -1)])
    c, s = np.cos(rotation_y), np.sin(rotation_y)
    return local @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + location


# Real frames


def test_real_boxes_come_back_to_their_label_lines(real_root: Path, tmp_path: Path) -> None:
    dataset = Kitti(real_root, "all")
    assert dataset.ids == sorted(file.stem for file in (real_root / "training" / "velodyne").iterdir())
    for frame in (dataset[i] for i in range(len(dataset))):
        assert frame.objects is not None
        assert frame.calibration is not None
        assert frame.boxes.dtype == np.float32
        rows = frame.objects
        location, size, rotation_y = lidar_to_camera(frame.boxes, frame.calibration.camera_from_lidar)
        rows.location, rows.dimensions, rows.rotation_y = location, size, rotation_y
        write_objects(tmp_path / "a.txt", rows)
        lines = (real_root / "training" / "label_2" / f"{frame.id}.txt").read_text().splitlines()
        expected = [line for line in lines if not line.startswith("DontCare")]
        written = (tmp_path / "a.txt").read_text().replace("-0.00", "0.00").splitlines()
        assert written == [line.replace("-0.00", "0.00") for line in expected]
        assert frame.dont_care is not None
        assert len(frame.dont_care) == len(lines) - len(expected)


def test_real_boxes_lie_where_the_devkit_puts_them(real_root: Path) -> None:
    for frame in (Kitti(real_root, "all")[i] for i in range(12)):
        assert frame.objects is not None
        assert frame.calibration is not None
        for box, row in zip(corners(frame.boxes), range(len(frame.objects)), strict=True):
            rows = frame.objects
            theirs = devkit_corners(rows.location[row], rows.dimensions[row], rows.rotation_y[row])
            ours = frame.calibration.lidar_to_camera(box)
            distance = np.linalg.norm(ours[:, None] - theirs[None], axis=-1).min(axis=1)
            assert distance.max() < 0.05  # the camera is tilted by half a degree against the LiDAR


def test_points_lie_in_each_real_box(real_root: Path) -> None:
    for frame in (Kitti(real_root, "all", camera_view=False)[i] for i in range(12)):
        assert frame.objects is not None
        assert frame.calibration is not None
        inside = points_in_boxes(frame.points, frame.boxes)
        camera = frame.calibration.lidar_to_camera(frame.points[:, :3].astype(np.float64))
        for row in range(len(frame.objects)):
            h, w, l = frame.objects.dimensions[row]  # noqa: E741
            offset, ry = camera - frame.objects.location[row], frame.objects.rotation_y[row]
            along = np.cos(ry) * offset[:, 0] - np.sin(ry) * offset[:, 2]
            across = np.sin(ry) * offset[:, 0] + np.cos(ry) * offset[:, 2]
            theirs = (abs(along) <= l / 2) & (abs(across) <= w / 2) & (offset[:, 1] <= 0) & (offset[:, 1] >= -h)
            either = np.count_nonzero(inside[row] | theirs)
            assert either < 20 or np.count_nonzero(inside[row] & theirs) >= 0.85 * either
            assert either >= 20 or frame.objects.occluded[row] > 0 or frame.objects.location[row, 2] > 30


def test_real_image_boxes_are_those_of_the_labels(real_root: Path) -> None:
    for frame in (Kitti(real_root, "all")[i] for i in range(12)):
        assert frame.objects is not None
        assert frame.calibration is not None
        assert frame.image_size is not None
        scores = np.ones(len(frame.boxes))
        rows = detections_to_objects(frame.boxes, frame.names, scores, frame.calibration, frame.image_size)
        ours, theirs = rows.bbox, frame.objects.bbox
        low, high = np.maximum(ours[:, :2], theirs[:, :2]), np.minimum(ours[:, 2:], theirs[:, 2:])
        shared = (high - low).prod(axis=1)
        union = (ours[:, 2:] - ours[:, :2]).prod(1) + (theirs[:, 2:] - theirs[:, :2]).prod(1) - shared
        whole = (frame.objects.truncated == 0) & (theirs[:, 3] - theirs[:, 1] > 40)  # drawn by hand there
        assert (shared / union)[whole].min(initial=1) > 0.7
        assert np.median(shared / union) > 0.85
        np.testing.assert_allclose(rows.alpha, frame.objects.alpha, atol=0.04)
        assert (rows.truncated == -1).all()
        assert (rows.occluded == -1).all()


def test_reduced_scans_are_already_cut_to_the_view(real_root: Path) -> None:
    whole, cut = Kitti(real_root, ["000008"], camera_view=False)[0], Kitti(real_root, ["000008"])[0]
    assert len(cut.points) > 0.999 * len(whole.points)
    whole, cut = Kitti(real_root, ["000000"], camera_view=False)[0], Kitti(real_root, ["000000"])[0]
    assert 0.1 * len(whole.points) < len(cut.points) < 0.25 * len(whole.points)


# Calibration


def test_real_calibration_files_come_back(real_root: Path, tmp_path: Path) -> None:
    original = real_root / "training" / "calib" / "000000.txt"
    write_calibration(tmp_path / "a.txt", read_calibration(original))
    ours, theirs = (p.read_text().splitlines() for p in (tmp_path / "a.txt", original))
    assert [line.split(":")[0] for line in ours] == [line.split(":")[0] for line in theirs if line]
    for row in (2, 4, 5):  # P2, R0_rect, Tr_velo_to_cam
        assert ours[row] == theirs[row]


@pytest.mark.parametrize("key", ["P2", "R0_rect", "Tr_velo_to_cam"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: "", "lacks key '{key}'"),
        (lambda line: line.rsplit(" ", 1)[0], "'{key}' must have"),
        (lambda line: line.rsplit(" ", 1)[0] + " x", "'{key}' has a value that is not a number"),
        (lambda line: line.rsplit(" ", 1)[0] + " nan", "'{key}' must have .* finite"),
    ],
)
def test_a_bad_calibration_key_is_named(
    tmp_path: Path, camera: Calibration, key: str, change: Callable[[str], str], message: str
) -> None:
    path = tmp_path / "a.txt"
    write_calibration(path, camera)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(line) if line.startswith(f"{key}:") else line for line in lines))
    with pytest.raises(DataError, match=rf"a\.txt: {message.format(key=key)}") as error:
        read_calibration(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r0_rect": np.zeros((3, 3))}, "'R0_rect' is not a rotation"),
        ({"r0_rect": np.diag([1.0, 1, -1])}, "'R0_rect' is not a rotation"),
        ({"r0_rect": np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])}, "'R0_rect' is not a rotation"),
        ({"r0_rect": np.diag([2.0, 0.5, 1])}, "'R0_rect' is not a rotation"),
        ({"velo_to_cam": np.full((3, 4), 1e30)}, "'Tr_velo_to_cam' is not a rotation"),
        ({"velo_to_cam": np.eye(4)[:3] + np.eye(3, 4, 3) * 1e4}, "'Tr_velo_to_cam' puts the camera"),
        ({"p2": np.zeros((3, 4))}, "P2 projects nothing"),
        ({"p2": np.eye(4)[:3] * 1e30}, "P2 projects nothing"),
        ({"p2": np.array([[720.0, 0, 610, 0], [0, 0, 173, 0], [0, 0, 1, 0]])}, "P2 projects nothing"),
    ],
)
def test_matrices_that_are_no_calibration_are_named(
    tmp_path: Path, camera: Calibration, change: dict[str, np.ndarray], message: str
) -> None:
    write_calibration(tmp_path / "a.txt", replace(camera, **change))
    with pytest.raises(DataError, match=message) as error:
        read_calibration(tmp_path / "a.txt")
    assert str(error.value).startswith(f"{tmp_path / 'a.txt'}: ")


def test_calib_files_of_other_benchmarks_and_on_several_lines(tmp_path: Path, camera: Calibration) -> None:
    def text(values: np.ndarray) -> str:
        return " ".join(f"{value:.12e}" for value in values.ravel())

    files = {
        "tracking": f"P2: {text(camera.p2)}\nR_rect {text(camera.r0_rect)}\nTr_velo_cam {text(camera.velo_to_cam)}\n",
        "odometry": f"P2: {text(camera.p2)}\nTr: {text(camera.velo_to_cam)}\n",
        "lines": "".join(
            f"{key}:\n" + "".join(f"{text(row)}\n" for row in values)
            for key, values in (("P2", camera.p2), ("R0_rect", camera.r0_rect), ("Tr_velo_to_cam", camera.velo_to_cam))
        ),
        "spaces": f"P2 :{text(camera.p2)}\r\n\r\nR0_rect : {text(camera.r0_rect)}\r\nTr: {text(camera.velo_to_cam)}\r\n"
        f"Tr_velo_to_cam:{text(camera.velo_to_cam)}",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        read = read_calibration(tmp_path / name)
        for key, values in vars(camera).items():
            np.testing.assert_allclose(getattr(read, key), values, rtol=1e-11, err_msg=name)


# Projection


def test_the_view_is_what_projects_into_the_image(camera: Calibration) -> None:
    points = np.random.default_rng(0).uniform((-20, -30, -5), (60, 30, 5), (4000, 3))
    pixels, depth = camera.project(camera.lidar_to_camera(points))
    expected = (depth > 0) & (pixels >= 0).all(1) & (pixels < (1242, 375)).all(1)
    assert 0 < np.count_nonzero(expected) < 4000
    np.testing.assert_array_equal(in_camera_view(points.astype(np.float64), camera, (1242, 375)), expected)
    assert in_camera_view(np.zeros((0, 4), np.float32), camera, (1242, 375)).shape == (0,)


def test_image_boxes_enclose_the_part_before_the_camera(camera: Calibration) -> None:
    """Against points on the surface; the second box reaches behind the camera, the third is behind it."""
    boxes = np.array([[15, 2, -1, 4, 2, 1.5, 0.7], [1.5, 2.5, -1, 6, 2, 1.5, 0.1], [-9, 0, 0, 4, 2, 1.5, 0]])
    ours = project_boxes(boxes, camera)
    assert np.isnan(ours[2]).all()
    steps = np.linspace(-0.5, 0.5, 201)
    grid = np.stack(np.meshgrid(steps, steps, [-0.5, 0.5]), -1).reshape(-1, 3)
    for box, image in zip(boxes[:2], ours[:2], strict=True):
        local = np.concatenate([grid, np.roll(grid, 1, 1), np.roll(grid, 2, 1)]) * box[3:6]
        c, s = np.cos(box[6]), np.sin(box[6])
        surface = local @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + box[:3]
        seen = camera.lidar_to_camera(surface)
        pixels, _ = camera.project(seen[seen[:, 2] >= 0.1])
        theirs = np.concatenate([pixels.min(0), pixels.max(0)])
        limits = (1241, 374, 1241, 374)
        np.testing.assert_allclose(np.clip(image, 0, limits), np.clip(theirs, 0, limits), atol=1.0)


def test_detections_outside_the_image_are_dropped(camera: Calibration) -> None:
    boxes = np.array([[15, 0, -1, 4, 2, 1.5, 0], [5, 40, -1, 4, 2, 1.5, 0], [-15, 0, -1, 4, 2, 1.5, 0]], np.float32)
    rows = detections_to_objects(boxes, np.array(["Car", "Van", "Car"]), np.array([0.9, 0.8, 0.7]), camera, (1242, 375))
    assert rows.names.tolist() == ["Car"]
    assert rows.score is not None
    assert rows.score.tolist() == [0.9]
    nothing = detections_to_objects(boxes[:0], np.array([]), np.array([]), camera, (1242, 375))
    assert len(nothing) == 0


# The data set's layout


def test_frames_keep_everything(kitti_root: Path) -> None:
    frame = Kitti(kitti_root, "train")[3]
    assert frame.id == "000003"
    assert frame.names.tolist() == ["Car", "Pedestrian", "Van"]
    assert frame.boxes.shape == (3, 7)
    assert frame.dont_care is not None
    assert frame.dont_care.names.tolist() == ["DontCare"]
    assert frame.image_size == (1242, 375)
    assert points_in_boxes(frame.points, frame.boxes).sum(axis=1).min() >= 58  # to the labels' centimetre


def test_test_frames_have_no_labels(kitti_root: Path) -> None:
    dataset = Kitti(kitti_root, "test")
    assert dataset.ids == ["000010"]
    assert dataset[0].objects is None
    assert dataset[0].boxes.shape == (0, 7)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_the_image_size_comes_from_the_image(kitti_root: Path, suffix: str) -> None:
    folder = kitti_root / "training" / "image_2"
    folder.mkdir()
    Image.new("RGB", (1224, 370)).save(folder / f"000000{suffix}")
    assert Kitti(kitti_root, "train")[0].image_size == (1224, 370)
    (folder / f"000000{suffix}").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=rf"000000\{suffix}: is not an image"):
        Kitti(kitti_root, "train")[0]


def test_another_camera_without_images_needs_a_size(kitti_root: Path, camera: Calibration) -> None:
    """KITTI's own size is taken for its own cameras alone."""
    for p2 in ([[900, 0, 960, 0], [0, 900, 540, 0], [0, 0, 1, 0]], np.eye(4)[:3]):
        write_calibration(kitti_root / "training" / "calib" / "000000.txt", replace(camera, p2=np.array(p2)))
        with pytest.raises(DataError, match=r"calib/000000\.txt: the camera's image size is unknown.*image_size"):
            Kitti(kitti_root, "train")[0]
        assert len(Kitti(kitti_root, "train", camera_view=False)[0].points) > 0
    assert Kitti(kitti_root, "train", image_size=(1920, 1080))[0].image_size == (1920, 1080)


def test_an_object_behind_the_camera_is_not_cut_away_unsaid(kitti_root: Path) -> None:
    path = kitti_root / "training" / "label_2" / "000000.txt"
    rows = read_objects(path)
    rows.location[0, 2] = -20
    write_objects(path, rows)
    with pytest.raises(DataError, match=r"000000\.txt: the Car at x .* is behind the camera.*data\.camera_view=false"):
        Kitti(kitti_root, "train")[0]
    assert len(Kitti(kitti_root, "train", camera_view=False)[0].boxes) == 3


def test_a_list_that_names_a_frame_twice(kitti_root: Path) -> None:
    (kitti_root / "ImageSets" / "train.txt").write_text("000000\n000001\n000000\n")
    with pytest.raises(DataError, match=r"train\.txt: frame 000000 is listed twice"):
        Kitti(kitti_root, "train")
    with pytest.raises(DataError, match="twice"):
        Kitti(kitti_root, ["000000", "000000"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_with_a_byte_order_mark(kitti_root: Path, encoding: str) -> None:
    (kitti_root / "ImageSets" / "train.txt").write_text("000001\r\n000000\r\n", encoding=encoding)
    assert Kitti(kitti_root, "train").ids == ["000001", "000000"]
    (kitti_root / "ImageSets" / "train.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.txt: not a text file in UTF-8"):
        Kitti(kitti_root, "train")


def test_splits_by_name_path_and_ids(kitti_root: Path, tmp_path: Path) -> None:
    assert len(Kitti(kitti_root, "train")) == 7
    assert Kitti(kitti_root, "train", max_frames=2).ids == ["000000", "000001"]
    assert len(Kitti(kitti_root, "all")) == 10
    assert Kitti(kitti_root, ["000004"]).ids == ["000004"]
    (tmp_path / "mine.txt").write_text("000002\r\n000005\r\n")
    assert Kitti(kitti_root, tmp_path / "mine.txt").ids == ["000002", "000005"]
    assert Kitti(kitti_root, str(tmp_path / "mine.txt")).ids == ["000002", "000005"]


def test_the_official_lists_serve_where_there_is_none(kitti_root: Path) -> None:
    shutil.rmtree(kitti_root / "ImageSets")
    with pytest.raises(DataError, match=r"velodyne/000010\.bin: missing, the first of 3708 out of 3712 files"):
        Kitti(kitti_root, "train")  # of the ten frames there, the official list has 0, 3, 7 and 9


def test_reduced_scans_serve_the_camera_view(kitti_root: Path) -> None:
    reduced = kitti_root / "training" / "velodyne_reduced"
    shutil.copytree(kitti_root / "training" / "velodyne", reduced)
    np.array([[-5, 0, 0, 0]], np.float32).tofile(reduced / "000000.bin")  # behind the camera
    assert len(Kitti(kitti_root, "train", camera_view=False)[0].points) > 1
    assert len(Kitti(kitti_root, "train")[0].points) == 0
    (reduced / "000001.bin").unlink()  # half a folder is worse than none
    assert len(Kitti(kitti_root, "train")[0].points) > 1
    shutil.rmtree(kitti_root / "training" / "velodyne")
    with pytest.raises(DataError, match=r"velodyne_reduced/000001\.bin: missing"):
        Kitti(kitti_root, "train")


@pytest.mark.parametrize("folder", ["velodyne", "calib", "label_2"])
def test_missing_files_are_counted_at_once(kitti_root: Path, folder: str) -> None:
    for path in (kitti_root / "training" / folder).glob("00000[25].*"):
        path.unlink()
    with pytest.raises(DataError, match=rf"{folder}/000002\.\w+: missing, the first of 2 out of 7") as error:
        Kitti(kitti_root, "train")
    assert "\n" not in str(error.value)


def test_a_wrong_path_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training: no such folder; .*velodyne.*calib.*label_2"):
        open_dataset(KittiConfig(root=tmp_path), "train")


def test_an_unknown_split_says_which_there_are(kitti_root: Path) -> None:
    with pytest.raises(DataError, match="no list for split 'trian'; use train, val, test or all"):
        Kitti(kitti_root, "trian")
    (kitti_root / "ImageSets" / "none.txt").write_text("\n")
    with pytest.raises(DataError, match="split 'none' names no frame"):
        Kitti(kitti_root, "none")


def test_a_bad_file_is_named_when_its_frame_is_read(kitti_root: Path) -> None:
    dataset = Kitti(kitti_root, "train")
    (kitti_root / "training" / "label_2" / "000001.txt").write_text("Horse 0 0 0 0 0 0 0 1 1 1 0 0 0 0\n")
    with pytest.raises(DataError, match=r"label_2/000001\.txt:1: unknown class 'Horse'"):
        dataset[1]
    assert Kitti(kitti_root, "train", classes=["Horse"])[1].names.tolist() == ["Horse"]


def test_max_frames_is_for_training_only(kitti_root: Path) -> None:
    config = KittiConfig(root=kitti_root, max_frames=2)
    assert len(open_dataset(config, "train")) == 2
    assert len(open_dataset(config, "val")) == 3


def test_the_fingerprint_follows_the_files(kitti_root: Path) -> None:
    before = Kitti(kitti_root, "train").fingerprint()
    assert Kitti(kitti_root, "train").fingerprint() == before
    assert Kitti(kitti_root, "train", max_frames=2).fingerprint() != before
    with (kitti_root / "training" / "label_2" / "000001.txt").open("a") as file:
        file.write("\n")
    assert Kitti(kitti_root, "train").fingerprint() != before


def test_the_official_lists_are_complete() -> None:
    folder = Path(read_objects.__code__.co_filename).parent / "splits"
    splits = {name: (folder / f"{name}.txt").read_text().split() for name in ("train", "val", "test")}
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 3712, "val": 3769, "test": 7518}
    assert sorted(splits["train"] + splits["val"]) == [f"{n:06d}" for n in range(7481)]
