"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905) as pure functions of tensors.

Written here and not taken from Stable-Baselines3, whose SAC is one network for one environment
around modules and optimisers with a state of their own. Ours is called for many tasks at once, has
a latent in every network, and keeps all that it learns in named tensors, so that a resumed run is
bit-identical. Actions are tanh of a Gaussian output, in (-1, 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metarl.policies.gaussian import Gaussian, log_prob


def squashed_log_prob(dist: Gaussian, outputs: Tensor) -> Tensor:
    """Log-density of tanh(outputs), outputs distributed as `dist`: (..., A) -> (...), nats.

    Appendix C; log(1 - tanh(u)^2) in a form that stays exact where tanh is 1.
    """
    slope = 2 * (math.log(2) - outputs - torch.nn.functional.softplus(-2 * outputs))
    return log_prob(dist, outputs) - slope.sum(-1)


def soft_value(values: Tensor, log_probs: Tensor, temperature: Tensor) -> Tensor:
    """Smaller of two critics' values plus the entropy's worth: (2, ...), (...) -> (...).

    Eq. 3, with the minimum against overestimation (Fujimoto et al. 2018).
    """
    return values.amin(0) - temperature * log_probs


def targets(
    rewards: Tensor, terminated: Tensor, following: Tensor, discount: float, at_end: Tensor
) -> Tensor:
    """Targets of the critics, (...): Eq. 5.

    A clock that ran out ends the data and not the task, so what follows there counts.

    Args:
        rewards, terminated: of transitions, (...).
        following: soft value of the states after them, (...).
        discount: gamma.
        at_end: value of the state after a termination, (): 0, in the scale of the values.
    """
    return rewards + discount * torch.where(terminated, at_end, following)


def critic_loss(values: Tensor, target: Tensor) -> Tensor:
    """Squared error of both critics, a mean over transitions and a sum over critics: ()."""
    return (values - target).square().flatten(1).mean(1).sum()


def actor_loss(values: Tensor, log_probs: Tensor, temperature: Tensor) -> Tensor:
    """Negative soft value of the actor's own actions, a mean over transitions: ()."""
    return -soft_value(values, log_probs, temperature).mean()


def temperature_loss(log_temperature: Tensor, log_probs: Tensor, target_entropy: float) -> Tensor:
    """Loss whose descent raises the temperature where the entropy is below the target: ().

    Eq. 18, by the logarithm of the temperature.
    """
    return -log_temperature * (log_probs.detach().mean() + target_entropy)
