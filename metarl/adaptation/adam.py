"""Adam (Kingma and Ba 2015) on parameter dicts, its state as named tensors."""

# torch's own optimisers step through these functions on lists, which it exports to no one else.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    own = [name for name in params if name.startswith(ADAPTATION)]
    weights = [name for name in params if name not in own]
    for names, rate in ((weights, learning_rate), (own, adaptation_lr)):
        if names:
            after = _stepped(
                [params[name] for name in names],
                [gradient[name] for name in names],
                [state[FIRST + name] for name in names],
                [state[SECOND + name] for name in names],
                fresh[COUNT],
                rate,
            )
            for name, value, first, second in zip(names, *after, strict=True):
                moved[name] = value
                fresh |= {FIRST + name: first, SECOND + name: second}
    return moved, fresh


def _stepped(
    values: list[Tensor],
    gradient: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    count: Tensor,
    rate: float | Tensor,
) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    """Values and moments after a step, all of one type.

    An operation on a list is one or a few kernels on a GPU, however many entries there are, and
    computes what it would on each of them.
    """
    dtype = values[0].dtype
    count = count.double()  # in single precision, 1 - 0.999 is off by 6e-5
    squares = torch._foreach_pow(gradient, 2)
    mean = torch._foreach_add(
        torch._foreach_mul(first, BETA_1), torch._foreach_mul(gradient, 1 - BETA_1)
    )
    square = torch._foreach_add(
        torch._foreach_mul(second, BETA_2), torch._foreach_mul(squares, 1 - BETA_2)
    )
    size = (rate / (1 - BETA_1**count)).to(dtype)
    unbiased = torch._foreach_div(square, (1 - BETA_2**count).to(dtype))
    roots = torch._foreach_add(torch._foreach_sqrt(unbiased), EPSILON)
    step = torch._foreach_div(torch._foreach_mul(mean, size), roots)
    return torch._foreach_sub(values, step), mean, square
