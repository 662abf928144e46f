import numpy as np

from mink_pd.evaluate.centres import match_centres


def boxes(*places: tuple[float, float]) -> np.ndarray:
    return np.array([[x, y, 0, 4, 2, 1.5, 0] for x, y in places], np.float64).reshape(-1, 7)


def test_the_best_chooses_first_and_takes_the_nearest() -> None:
    objects, names = boxes((0, 0), (3, 0), (20, 0), (40, 0)), np.array(["car", "car", "truck", "car"])
    found = boxes((1.6, 0), (0.5, 0), (20, 0.5), (38, 0), (38.01, 0))
    kinds, scores = np.array(["car", "car", "car", "car", "car"]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    match = match_centres(objects, names, found, kinds, scores)
    # The first is nearer to the second object; a truck is no car; 2 m is not nearer than 2 m.
    assert match.true_positive.tolist() == [True, True, False, False, True]
    assert match.missed.tolist() == [False, False, True, False]
    rising = match_centres(objects[:1], names[:1], found[:2], kinds[:2], scores[1::-1])
    assert rising.true_positive.tolist() == [False, True]


def test_nothing_to_match() -> None:
    some, kind, none = boxes((0, 0)), np.array(["car"]), np.array([], dtype=str)
    assert match_centres(boxes(), none, some, kind, np.ones(1)).true_positive.tolist() == [False]
    assert match_centres(some, kind, boxes(), none, np.ones(0)).missed.tolist() == [True]
