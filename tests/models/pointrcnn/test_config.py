"""Settings of PointRCNN that no network can be built from are refused with the key's name."""

from typing import Any

import pytest
from pydantic import ValidationError

from mink_pd.config.pointrcnn import PointRCNNConfig, RoIConfig, SetAbstractionConfig

STAGE: dict[str, Any] = {"points": 16, "radii": [1.0], "neighbours": [8], "channels": [[8]]}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"radii": [], "neighbours": [], "channels": []}, "radii"),
        ({"radii": [0.0]}, "radii"),
        ({"neighbours": [0]}, "neighbours"),
        ({"channels": [[]]}, "channels"),
        ({"channels": [[0]]}, "channels"),
        ({"neighbours": [8, 8]}, "lists of one length"),
    ],
)
def test_a_stage_without_groups_is_refused(change: dict[str, Any], key: str) -> None:
    assert SetAbstractionConfig(**STAGE)
    with pytest.raises(ValidationError, match=key):
        SetAbstractionConfig(**STAGE | change)


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(ValidationError, match="stages"):
        PointRCNNConfig(stages=[], propagation=[])
    with pytest.raises(ValidationError, match="stages"):
        RoIConfig(stages=[])
