"""The reference policy as a PyTorch network: see, reason, act.

Owns: the architecture and the parameters' names, which `models.reference.export` reads.
Must not know: where samples come from. Every linear layer's input width is a multiple of 16, NVFP4's block.

A patch pyramid a camera gives 8 tokens; with an ego and an instruction token they are the prefix. A causal
transformer writes the reasoning behind it. The action expert cross-attends, layer by layer, to that
transformer's key-value cache. It predicts the plan itself (x1); the flow's velocity is (x1 - state) / (1 - time).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.reference.contract import (
    FRAMES,
    HISTORY_STEPS,
    HORIZON_STEPS,
    INSTRUCTIONS,
    MAX_TOKENS,
    VOCABULARY,
)
from models.reference.sizes import EGO_SCALE, PATCH_PX, TIME_FREQUENCIES, WAYPOINTS_PER_TOKEN, Sizes

SCENE_FACTS = 28


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of every layer, each (batch, positions, width)."""

    keys: list[Tensor]
    values: list[Tensor]


class Pyramid(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Frames of one camera → 8 tokens: patches of 4 px, then two merges of 2 × 2, with learned places."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        pixels = FRAMES * PATCH_PX * PATCH_PX * 3
        rows, columns = sizes.height_px // PATCH_PX, sizes.width_px // PATCH_PX
        self.rows, self.columns = rows, columns
        self.patch = nn.Linear(pixels, sizes.patch_width)
        self.merge1 = nn.Linear(4 * sizes.patch_width, sizes.merge_width)
        self.norm = nn.LayerNorm(sizes.merge_width)
        self.up = nn.Linear(sizes.merge_width, 2 * sizes.merge_width)
        self.down = nn.Linear(2 * sizes.merge_width, sizes.merge_width)
        self.merge2 = nn.Linear(4 * sizes.merge_width, sizes.width)
        self.place0 = nn.Parameter(torch.randn(rows * columns, sizes.patch_width) * 0.02)
        self.place1 = nn.Parameter(torch.randn(rows * columns // 4, sizes.merge_width) * 0.02)
        self.place2 = nn.Parameter(torch.randn(rows * columns // 16, sizes.width) * 0.02)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, height, width, 3) in -1..1 → (batch, 8, width)."""
        batch, count = frames.shape[:2]
        x = frames.reshape(batch, count, self.rows, PATCH_PX, self.columns, PATCH_PX, 3)
        x = x.permute(0, 2, 4, 1, 3, 5, 6).reshape(batch, self.rows * self.columns, -1)
        x = functional.relu(self.patch(x) + self.place0)
        x = functional.relu(self.merge1(_merged(x, self.rows, self.columns)) + self.place1)
        x = x + self.down(functional.relu(self.up(self.norm(x))))
        merged: Tensor = self.merge2(_merged(x, self.rows // 2, self.columns // 2)) + self.place2
        return merged


def _merged(x: Tensor, rows: int, columns: int) -> Tensor:
    """(batch, rows·columns, width) → (batch, rows·columns/4, 4·width), neighbours side by side."""
    batch, _, width = x.shape
    x = x.reshape(batch, rows // 2, 2, columns // 2, 2, width).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * columns // 4, 4 * width)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Multi-head attention by plain products, which at these lengths is faster than the fused kernel on a CPU."""
    batch, length, width = query.shape
    query, key, value = (
        part.reshape(batch, -1, heads, width // heads).transpose(1, 2) for part in (query, key, value)
    )
    score = query @ key.transpose(2, 3) * (width // heads) ** -0.5
    if mask is not None:
        score = score.masked_fill(~mask, -1e9)
    mixed: Tensor = (score.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
    return mixed


def _mask(first: int, length: int, sentences: int) -> Tensor:
    """(P + S, P + S) of what each position attends to: all of the prefix, and what its own sentence said so far."""
    place = torch.arange(first + sentences * length)
    sentence, word = (place - first).div(length, rounding_mode="floor"), (place - first) % length
    said = (sentence[:, None] == sentence[None]) & (word[None] <= word[:, None])
    spoken = place >= first
    return ~spoken[None] | (said & spoken[:, None])


class Mlp(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Normalise, widen, narrow; the caller adds the residual."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, factor * width)
        self.down = nn.Linear(factor * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        out: Tensor = self.down(functional.relu(self.up(self.norm(x))))
        return out


class ReasonLayer(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """One layer of the causal transformer."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.norm = nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.mlp = Mlp(sizes.width, sizes.mlp_factor)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, positions, width) → the same, and its keys and values."""
        query, key, value = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.out(_attend(query, key, value, self.heads, mask))
        return x + self.mlp(x), key, value


class ActionLayer(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """One layer of the action expert: to the cache, to each other, alone."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.cross_norm = nn.LayerNorm(sizes.width)
        self.cross_query = nn.Linear(sizes.width, sizes.width)
        self.cross_out = nn.Linear(sizes.width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.mlp = Mlp(sizes.width, sizes.mlp_factor)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, action tokens, width), attending to one layer's keys and values."""
        x = x + self.cross_out(_attend(self.cross_query(self.cross_norm(x)), key, value, self.heads, mask))
        query, own_key, own_value = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.out(_attend(query, own_key, own_value, self.heads, None))
        out: Tensor = x + self.mlp(x)
        return out


class ReferenceNetwork(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """The whole policy."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.sizes = sizes
        self.cameras = nn.ModuleList([Pyramid(sizes) for _ in range(sizes.cameras)])
        self.ego1 = nn.Linear(HISTORY_STEPS * 4, width)
        self.ego2 = nn.Linear(width, width)
        self.instruction = nn.Embedding(len(INSTRUCTIONS), width)
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.word_places = nn.Parameter(torch.randn(sizes.prefix + MAX_TOKENS + 2, width) * 0.02)
        self.layers = nn.ModuleList([ReasonLayer(sizes) for _ in range(sizes.layers)])
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, len(VOCABULARY))
        self.state = nn.Linear(2 * WAYPOINTS_PER_TOKEN, width)
        self.time = nn.Linear(2 * len(TIME_FREQUENCIES), width)
        self.action_places = nn.Parameter(torch.randn(HORIZON_STEPS // WAYPOINTS_PER_TOKEN, width) * 0.02)
        self.action_layers = nn.ModuleList([ActionLayer(sizes) for _ in range(sizes.layers)])
        self.action_norm = nn.LayerNorm(width)
        self.waypoints = nn.Linear(width, 2 * WAYPOINTS_PER_TOKEN)
        self.scene = nn.Linear(8 * sizes.cameras * width, SCENE_FACTS)  # a training aid, not exported

    def see(self, frames: Tensor, ego_history: Tensor, instruction: Tensor) -> Tensor:
        """uint8 or float (batch, N, height, width, 3), (batch, steps, 4), (batch,) → prefix (batch, P, width)."""
        pixels = frames.float() * (1 / 127.5) - 1.0
        seen = [
            camera(pixels[:, index * FRAMES : (index + 1) * FRAMES])
            for index, camera in enumerate(self.cameras)
        ]
        history = (ego_history * torch.tensor(EGO_SCALE, device=ego_history.device)).flatten(1)
        ego = self.ego2(functional.relu(self.ego1(history)))
        return torch.cat([*seen, ego[:, None], self.instruction(instruction)[:, None]], dim=1)

    def reason(self, prefix: Tensor, tokens: Tensor, sentences: int = 1) -> tuple[Tensor, Cache]:
        """(batch, P, width), (batch, S) → logits (batch, S, words) and the cache over all P + S positions.

        The tokens are `sentences` of the same length, end to end, each behind the prefix as if it were alone.
        """
        first, length = prefix.shape[1], tokens.shape[1] // sentences
        places = self.word_places[first : first + length].repeat(sentences, 1)
        x = torch.cat([prefix, self.words(tokens) + places], dim=1)
        mask = _mask(first, length, sentences).to(prefix.device)
        keys, values = [], []
        for layer in self.layers:
            x, key, value = layer(x, mask)
            keys.append(key)
            values.append(value)
        return self.logits(self.norm(x[:, first:])), Cache(keys, values)

    def act(self, cache: Cache, state: Tensor, time: Tensor, visible: Tensor | None = None) -> Tensor:
        """The plan (batch, H, 2) in scaled units that the flow heads for from `state` at `time` (batch,).

        `visible` (batch, positions), where given, hides the rest of the cache.
        """
        batch = state.shape[0]
        angle = time[:, None] * torch.tensor(TIME_FREQUENCIES, device=time.device)
        moment = self.time(torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1))
        x = (
            self.state(state.reshape(batch, -1, 2 * WAYPOINTS_PER_TOKEN))
            + self.action_places
            + moment[:, None]
        )
        mask = None if visible is None else visible[:, None, None, :]
        for layer, key, value in zip(self.action_layers, cache.keys, cache.values, strict=True):
            x = layer(x, key, value, mask)
        plan: Tensor = self.waypoints(self.action_norm(x))
        return plan.reshape(batch, HORIZON_STEPS, 2)

    def facts(self, prefix: Tensor) -> Tensor:
        """A linear reading of the visual tokens, (batch, SCENE_FACTS); trained only to make them legible."""
        facts: Tensor = self.scene(prefix[:, : 8 * self.sizes.cameras].flatten(1))
        return facts
