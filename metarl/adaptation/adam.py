"""Adam (Kingma and Ba 2015) on parameter dicts, its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.policies.params import ADAPTATION, Params

FIRST, SECOND, COUNT = "adam.first.", "adam.second.", "adam.count"
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


def init_adam(params: Mapping[str, Tensor]) -> Params:
    """Moments of zero for every entry, and the number of steps taken."""
    return (
        {FIRST + name: torch.zeros_like(value) for name, value in params.items()}
        | {SECOND + name: torch.zeros_like(value) for name, value in params.items()}
        | {COUNT: torch.zeros(())}
    )


def adam_step(
    params: Mapping[str, Tensor],
    gradient: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    learning_rate: float | Tensor,
    adaptation_lr: float | Tensor,
) -> tuple[Params, Params]:
    """One descent step (Algorithm 1): new parameters and new state.

    The number of steps stays on the device, so that nothing waits for it.

    Args:
        params: entries that move.
        gradient: of the loss, by the same names.
        state: of at least these parameters, from `init_adam` or an earlier step.
        learning_rate: step size of the policy's weights; as a tensor (), in double precision.
        adaptation_lr: step size of the adaptation's own entries.
    """
    moved, fresh = dict(params), dict(state) | {COUNT: state[COUNT] + 1}
    count = fresh[COUNT].double()  # in single precision, 1 - 0.999 is off by 6e-5
    for name, value in params.items():
        first = BETA_1 * state[FIRST + name] + (1 - BETA_1) * gradient[name]
        second = BETA_2 * state[SECOND + name] + (1 - BETA_2) * gradient[name].square()
        rate = adaptation_lr if name.startswith(ADAPTATION) else learning_rate
        size = (rate / (1 - BETA_1**count)).to(value.dtype)
        unbiased = second / (1 - BETA_2**count).to(value.dtype)
        moved[name] = value - size * first / (unbiased.sqrt() + EPSILON)
        fresh |= {FIRST + name: first, SECOND + name: second}
    return moved, fresh
