"""How to read the taps ``scores`` and ``boxes`` of a head, for methods that compare them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BoxLayout:
    """A row of ``boxes`` holds A boxes of ``code`` numbers each; a row of ``scores`` says how likely they are.

    owner: for each channel of ``scores``, which of the A boxes it speaks for. angle: the place in a code of an angle
    [rad] of which half a turn costs nothing in the detection loss; None where there is none. middle, spread: (code,),
    a number of a good box lies within about middle - spread to middle + spread.
    """

    owner: tuple[int, ...]
    middle: tuple[float, ...]
    spread: tuple[float, ...]
    angle: int | None = None

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
        """Codes (..., code) with each number brought to about -1..1."""
        return (codes - codes.new_tensor(self.middle)) / codes.new_tensor(self.spread)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """L1 distance (...) of codes (..., code), of an angle that of its sine."""
        difference = a - b
        if self.angle is not None:
            angle = torch.zeros(self.code, dtype=torch.bool, device=a.device)
            angle[self.angle] = True
            difference = torch.where(angle, torch.sin(difference), difference)
        return difference.abs().sum(dim=-1)
