"""Evidence lower bound of a recurrent posterior over the latent of a task.

VariBAD, Zintgraf et al. 2020, arXiv:1910.08348, Eq. 4-8. The belief q_t = N(mean, std^2) follows
from a trial up to its step t. A sample of it has to explain the transitions of the whole trial,
those to come included, by decoders of rewards and of changes of the observation.

Axes: 1 policy, N trials, L steps, Z latent, P prefixes, D decoded steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.distributed import part_of_mean
from metarl.policies.gaussian import Gaussian, kl_divergence
from metarl.policies.mlp import forward, init_layers
from metarl.policies.params import Params

REWARD, STATE = "decoder.reward.", "decoder.state."
LOG_STD = (-5.0, 2.0)
"""Bounds on the logarithm of a posterior's standard deviation."""


def posterior(latents: Tensor) -> Gaussian:
    """The posteriors that a bottleneck of a memory gives: (..., 2Z) -> (..., Z)."""
    mean, log_std = latents.chunk(2, dim=-1)
    return Gaussian(mean, log_std.clamp(*LOG_STD))


def divergences(posteriors: Gaussian, began: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q_t || q_before) in nats, and the steps where it is known, each (..., L).

    Before is the valid step before it, and N(0, 1) at the start of a trial. Both gradients count,
    as in the paper's code.

    Args:
        posteriors: (..., L, Z).
        began: the trials that start at the first step, (...); of others the step before it is
            unknown.
        valid: (..., L).
    """
    mean, log_std = posteriors
    before = steps_before(valid)
    index = before.clamp(min=0).unsqueeze(-1).expand_as(mean)
    first = (before < 0).unsqueeze(-1)
    prior = Gaussian(
        torch.where(first, 0.0, mean.gather(-2, index)),
        torch.where(first, 0.0, log_std.gather(-2, index)),
    )
    return kl_divergence(posteriors, prior), has_divergence(began, valid)


def steps_before(valid: Tensor) -> Tensor:
    """The valid step before each step, -1 where there is none: (..., L)."""
    steps = torch.arange(valid.shape[-1], device=valid.device)
    latest = torch.where(valid, steps, -1).cummax(-1).values
    return torch.cat([torch.full_like(latest[..., :1], -1), latest[..., :-1]], dim=-1)


def has_divergence(began: Tensor, valid: Tensor) -> Tensor:
    """Steps whose divergence from the belief before is known: (...), (..., L) -> (..., L)."""
    return valid & (began.unsqueeze(-1) | (steps_before(valid) >= 0))


def pairs(valid: Tensor, prefixes: Tensor, decoded: Tensor) -> Tensor:
    """Pairs of valid steps, a prefix's end and one that it has to explain: (N, L) -> (N, P, D)."""
    return valid[:, prefixes].unsqueeze(2) & valid[:, decoded].unsqueeze(1)


@dataclass(frozen=True)
class Decoders:
    """Networks that predict a transition from a sample of the task's latent.

    Rewards from (z, o, a, o'), changes of the observation from (z, o, a): frozen sizes, without
    tensors.
    """

    latent_size: int
    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...]
    rewards: bool
    states: bool

    def init(self, generator: Generator) -> Params:
        """Fresh parameters, named `decoder.*`."""
        params: Params = {}
        read = self.latent_size + self.observation_size + self.action_size
        for prefix, inputs, outputs in (
            (REWARD, read + self.observation_size, self.rewards),
            (STATE, read, self.observation_size * self.states),
        ):
            if outputs:
                layers = init_layers((inputs, *self.hidden_sizes, int(outputs)), generator)
                params |= {prefix + name: value for name, value in layers.items()}
        return params

    def errors(self, params: Mapping[str, Tensor], z: Tensor, steps: Transitions) -> Params:
        """Squared errors per sample and step, by the decoder's name: each (N, P, D).

        Args:
            params: with the decoders', without axis M.
            z: samples, (N, P, Z).
            steps: the same for every sample, (N, D, ...).
        """
        P, D = z.shape[1], steps.rewards.shape[1]
        sample = z.unsqueeze(2).expand(-1, -1, D, -1)
        found: Params = {}

        def predicted(prefix: str, *read: Tensor) -> Tensor:
            own = {n.removeprefix(prefix): v for n, v in params.items() if n.startswith(prefix)}
            known = torch.cat(read, dim=-1).unsqueeze(1).expand(-1, P, -1, -1)
            flat = torch.cat([sample, known], dim=-1).flatten(0, 2)
            return forward(own, flat, "relu").unflatten(0, (len(z), P, D))

        if self.rewards:
            read = (steps.observations, steps.actions, steps.following)
            error = predicted(REWARD, *read).squeeze(-1) - steps.rewards.unsqueeze(1)
            found["reward"] = error.square()
        if self.states:
            error = predicted(STATE, steps.observations, steps.actions) - steps.changes.unsqueeze(1)
            found["state"] = error.square().mean(-1)
        return found


@dataclass(frozen=True)
class Transitions:
    """Transitions of N trials as decoders read and predict them."""

    observations: Tensor  # (N, L, O) standardised
    actions: Tensor  # (N, L, A) as sent, 1: full range
    following: Tensor  # (N, L, O) the observations after them
    rewards: Tensor  # (N, L) standardised
    changes: Tensor  # (N, L, O) of the observation, standardised
    valid: Tensor  # (N, L)

    def at(self, steps: Tensor) -> Transitions:
        """Some steps, (D,)."""
        return Transitions(**{name: value[:, steps] for name, value in vars(self).items()})


def some(length: int, count: int, generator: Generator) -> Tensor:
    """At most `count` different steps of `length`, uniformly drawn, in random order: (count,)."""
    return torch.randperm(length, generator=generator)[:count]


def negative_elbo(
    decoders: Decoders,
    params: Mapping[str, Tensor],
    latents: Tensor,
    steps: Transitions,
    began: Tensor,
    prefixes: Tensor,
    decoded: Tensor,
    noise: Tensor,
    kl_weight: float,
    of_all: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of one mean per decoder and kl_weight times the mean divergence; and these means: ().

    A decoder's mean is over trials, prefixes and decoded steps, and the divergence's over trials
    and all steps. With decoders of variance 1/2 and kl_weight = 1 / L this is the negative bound
    divided by L, up to a constant.

    Args:
        decoders: of rewards, states or both.
        params: of the decoders, without axis M.
        latents: of the memory at every step, (N, L, 2Z).
        steps: (N, L, ...).
        began: the trials that start at the first step, (N,).
        prefixes: steps whose posteriors are decoded, (P,).
        decoded: steps that each of them explains, before and after it, (D,).
        noise: standard normal, (N, P, Z).
        kl_weight: weight of the divergence.
        of_all: `steps.valid` and `began` of the trials of all processes, whose means these trials
            give their parts of; None: these are all.
    """
    q = posterior(latents)
    z = q.mean[:, prefixes] + q.log_std[:, prefixes].exp() * noise
    explained = pairs(steps.valid, prefixes, decoded)
    errors = decoders.errors(params, z, steps.at(decoded))
    divergence, known = divergences(q, began, steps.valid)
    valid, begins = of_all or (steps.valid, began)
    num_explained = pairs(valid, prefixes, decoded).sum().clamp(min=1)
    num_known = has_divergence(begins, valid).sum().clamp(min=1)
    means = {n: part_of_mean(error, explained, num_explained) for n, error in errors.items()}
    loss = torch.stack(list(means.values())).sum()
    means["kl"] = part_of_mean(divergence, known, num_known)
    return loss + kl_weight * means["kl"], means
