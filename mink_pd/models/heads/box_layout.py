"""The layout of a head's taps ``scores`` and ``boxes``, for methods that compare them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BoxLayout:
    """A row of ``boxes`` contains A boxes of ``code`` numbers each; a row of ``scores`` contains their scores."""

    owner: tuple[int, ...]  # for each channel of ``scores`` the number of its box, from 0 to A - 1
    middle: tuple[float, ...]  # (code,); the numbers of a good box are mostly from middle - spread
    spread: tuple[float, ...]  # (code,); to middle + spread
    angle: int | None = None  # index in a code of an angle [rad] whose detection loss ignores half turns; None: none

    @property
    def boxes(self) -> int:
        return max(self.owner) + 1

    @property
    def code(self) -> int:
        return len(self.middle)

    def split(self, boxes: Tensor) -> Tensor:
        """Rows (n, A * code) of the tap as codes (n, A, code)."""
        return boxes.view(len(boxes), self.boxes, self.code)

    def box_scores(self, scores: Tensor) -> Tensor:
        """The highest score (n, A) of each box, from rows (n, channels) of the tap."""
        owner = torch.tensor(self.owner, device=scores.device).expand_as(scores)
        lowest = scores.new_full((len(scores), self.boxes), -torch.inf)
        return lowest.scatter_reduce(1, owner, scores, "amax")

    def normal(self, codes: Tensor) -> Tensor:
        """Codes (..., code) with each number scaled to about -1..1."""
        return (codes - codes.new_tensor(self.middle)) / codes.new_tensor(self.spread)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """L1 distance (...) of codes (..., code). For an angle it uses the sine of the difference."""
        difference = a - b
        if self.angle is not None:
            angle = torch.zeros(self.code, dtype=torch.bool, device=a.device)
            angle[self.angle] = True
            difference = torch.where(angle, torch.sin(difference), difference)
        return difference.abs().sum(dim=-1)
