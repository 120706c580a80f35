"""The trainer's memory: the newest samples as tensors on its device.

Owns: the ring of rows. Must not know: what is learnt from them.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.reference.collect import Samples
from models.reference.flow import SCALE


@dataclass
class Memory:
    """The last `capacity` samples as tensors on the device; the oldest are overwritten."""

    capacity: int
    device: str
    rows: list[Tensor] = field(default_factory=list)
    count: int = 0
    next_row: int = 0

    def add(self, samples: Samples) -> None:
        """Append, wrapping around."""
        fresh = tensors(samples, self.device)
        if not self.rows:
            self.rows = [
                torch.zeros(self.capacity, *part.shape[1:], dtype=part.dtype, device=self.device)
                for part in fresh
            ]
        where = (self.next_row + torch.arange(len(samples), device=self.device)) % self.capacity
        for row, part in zip(self.rows, fresh, strict=True):
            row[where] = part
        self.next_row = (self.next_row + len(samples)) % self.capacity
        self.count = min(self.count + len(samples), self.capacity)

    def batch(self, size: int) -> list[Tensor]:
        """`size` samples at random."""
        pick = torch.randint(self.count, (size,), device=self.device)
        return [row[pick] for row in self.rows]


def tensors(samples: Samples, device: str) -> list[Tensor]:
    """Frames, ego history, instruction, plans in scaled units, tokens, their numbers, facts."""
    parts = (
        samples.frames,
        samples.ego_history,
        samples.instruction,
        samples.plan / SCALE,
        samples.tokens,
        samples.token_count,
        samples.facts,
    )
    return [torch.from_numpy(part).to(device) for part in parts]
