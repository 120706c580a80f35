"""The flow from noise to a plan, by Euler's method, in PyTorch.

Owns: the integration that training-time drivers use. Must not know: where the cache comes from.
"""

import numpy as np
import torch
from torch import Tensor

from models.reference.contract import BOS, HORIZON_STEPS, SCALE_ACCELERATION_MPS2, SCALE_CURVATURE_PER_M
from models.reference.network import Cache, ReferenceNetwork

SCALE = np.array([SCALE_ACCELERATION_MPS2, SCALE_CURVATURE_PER_M], np.float32)
"""One scaled unit of acceleration in m/s², of curvature in 1/m."""


def flow(
    network: ReferenceNetwork, cache: Cache, noise: Tensor, steps: int, visible: Tensor | None = None
) -> Tensor:
    """Euler steps from `noise` (batch, H, 2) to a plan in scaled units; `visible` (batch, positions) of the cache."""
    state = noise
    for step in range(steps):
        time = torch.full((len(noise),), step / steps, device=noise.device)
        state = state + (network.act(cache, state, time, visible) - state) / (1 - step / steps) / steps
    return state


def plan_behind(
    network: ReferenceNetwork, sight: list[Tensor], said: tuple[Tensor, Tensor], steps: int
) -> Tensor:
    """The plan (batch, H, 2) in scaled units behind words that are given.

    `sight` is frames, ego history and instruction; `said` tokens (batch, S) and how many positions of `<bos>` and them
    are heard, (batch,).
    """
    prefix = network.see(*sight)
    tokens, heard = said
    bos = torch.full((len(tokens), 1), BOS, device=tokens.device)
    _, cache = network.reason(prefix, torch.cat([bos, tokens], dim=1))
    place = torch.arange(prefix.shape[1] + 1 + tokens.shape[1], device=tokens.device)
    noise = torch.randn(len(tokens), HORIZON_STEPS, 2, device=tokens.device)
    return flow(network, cache, noise, steps, place[None] < (prefix.shape[1] + heard)[:, None])
