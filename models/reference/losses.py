"""What training minimises: errors of the plan, of the words, and of what the visual tokens should show.

Owns: which words a plan is drawn behind, and the weights of errors over the horizon. Must not know: schedules, files.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.reference.contract import BOS, HORIZON_STEPS
from models.reference.network import Cache, ReferenceNetwork

_CUT_SHARE = 0.35
_PLAN_DECAY_STEPS = 20.0
_SENTENCES = 2


def losses(
    network: ReferenceNetwork, batch: list[Tensor], *, reasoning: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of plan, words and scene facts on one batch, a `Samples` as tensors.

    A plan's is taken at random times of the flow. The action expert sees what was decided, and the plan that follows
    from it: the expert's decision twice, once cut short in a third of the samples so that a governor may do that, and
    another decision once. Without `reasoning` it sees no words, and learns none.
    """
    frames, ego, instruction, plan, tokens, count, facts = batch
    prefix = network.see(frames, ego, instruction)
    scene = functional.smooth_l1_loss(network.facts(prefix), facts, beta=0.1)
    if not reasoning:
        _, cache = network.reason(prefix, torch.full((len(plan), 1), BOS, device=plan.device))
        drawn = [_drawn(network, cache, plan[:, 0], None) for _ in range(_SENTENCES)]
        return torch.stack(drawn).mean(), torch.zeros((), device=plan.device), scene
    tokens = tokens[:, :, : int(count.max())]
    bos = torch.full((len(plan), _SENTENCES, 1), BOS, device=tokens.device)
    logits, cache = network.reason(prefix, torch.cat([bos, tokens], dim=2).flatten(1), _SENTENCES)
    spoken = torch.arange(tokens.shape[2], device=tokens.device)[None] < count[:, :1]
    words = functional.cross_entropy(logits[:, : tokens.shape[2]][spoken], tokens[:, 0][spoken])
    shape = (prefix.shape[1], tokens.shape[2] + 1)
    drawn = [
        _drawn(network, cache, plan[:, 0], _visible(shape, 0, _cut(count[:, 0]))),
        _drawn(network, cache, plan[:, 1], _visible(shape, 1, _whole(count[:, 1]))),
    ]
    return torch.stack(drawn).mean(), words, scene


def _drawn(network: ReferenceNetwork, cache: Cache, plan: Tensor, visible: Tensor | None) -> Tensor:
    """The loss of the plan (batch, H, 2) in scaled units that is proposed at a random time of the flow."""
    time = torch.rand(len(plan), device=plan.device)
    state = torch.lerp(torch.randn_like(plan), plan, time[:, None, None])
    return _plan_loss(network.act(cache, state, time, visible), plan)


def _plan_loss(proposed: Tensor, plan: Tensor) -> Tensor:
    weight = torch.exp(-torch.arange(HORIZON_STEPS, device=plan.device) / _PLAN_DECAY_STEPS) + 0.1
    error = functional.smooth_l1_loss(proposed, plan, beta=0.1, reduction="none")
    columns = torch.tensor([1.0, 2.0], device=plan.device)
    return (error * weight[None, :, None] * columns).mean() / weight.mean()


def _whole(count: Tensor) -> Tensor:
    """How many tokens the action expert sees, `<bos>` included: the sentence with or without its end."""
    return count + torch.randint(0, 2, count.shape, device=count.device)


def _cut(count: Tensor) -> Tensor:
    """The same, or its first words only."""
    draw = torch.rand(count.shape, device=count.device)
    part = (torch.rand(count.shape, device=count.device) * (count + 1)).long() + 1
    return torch.where(draw < _CUT_SHARE, part, _whole(count))


def _visible(shape: tuple[int, int], sentence: int, seen: Tensor) -> Tensor:
    """(batch, positions): the prefix, and the first `seen` tokens of one sentence; `shape` is prefix and sentence."""
    first, length = shape
    word = torch.arange(first + _SENTENCES * length, device=seen.device)[None] - first - sentence * length
    said = (word >= 0) & (word < seen[:, None])
    said[:, :first] = True
    return said
