import numpy as np
import torch

from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate


def frame(id: str, columns: int, velocities: np.ndarray | None) -> Frame:
    boxes = np.arange(21, dtype=np.float32).reshape(3, 7)
    points = np.full((4, columns), float(id), np.float32)
    return Frame(id, points, boxes, np.array(["car", "tree", "bus"]), velocities)


def test_velocities_stay_with_their_boxes() -> None:
    moving = np.array([[1, 2], [3, 4], [np.nan, np.nan]])
    batch = collate([frame("0", 5, moving), frame("1", 5, 2 * moving)], ["bus", "car"])
    assert batch.velocities is not None
    for factor, boxes, labels, velocities in zip((1, 2), batch.boxes, batch.labels, batch.velocities, strict=True):
        assert boxes[:, 0].tolist() == [0, 14]
        assert labels.tolist() == [1, 0]
        assert velocities.dtype == torch.float32
        np.testing.assert_array_equal(velocities.numpy(), factor * moving[[0, 2]].astype(np.float32))
    assert batch.points.shape == (8, 5)
    assert batch.points[:, 4].tolist() == [0] * 4 + [1] * 4
    moved = batch.to("meta")
    assert moved.velocities is not None
    assert moved.velocities[0].device.type == "meta"


def test_no_velocities_where_a_frame_has_none() -> None:
    assert collate([frame("0", 4, None)], ["car"]).velocities is None
    assert collate([frame("0", 4, None), frame("1", 4, np.zeros((3, 2)))], ["car"]).velocities is None
    assert collate([], ["car"]).velocities is None
