"""The flow from noise to a plan, by Euler's method, in PyTorch.

Owns: the integration that training-time drivers use. Must not know: where the cache comes from.
"""

import numpy as np
import torch
from torch import Tensor

from models.reference.contract import SCALE_ACCELERATION_MPS2, SCALE_CURVATURE_PER_M
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
