"""PPO over whole trials (Schulman et al. 2017; RL^2: Duan et al. 2016), with a learned critic.

A minibatch is some worlds with all of their steps, so that gradients pass through the memory; for a
policy without one, it is single steps. Where several processes share the training, each has all
trials, differentiates on its part of every minibatch, and takes the same step. Axes: 1 policy, N
worlds, L steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.distributed import (
    gather_over_ranks,
    own_slice,
    part_of_mean,
    sum_by_name,
)
from metarl.outer.critic import Critic, learned_of, scale_of, with_returns
from metarl.policies.base import Policy
from metarl.policies.gaussian import Gaussian, entropy, kl_divergence, log_prob
from metarl.policies.params import Params, expand, flatten, learned
from metarl.rollouts.trials import Trial, as_steps, trial_advantages, valid_steps
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, Range
from metarl_envs.inputs.plain import PlainFields

CRITIC, POLICY_ADAM, CRITIC_ADAM = "critic.", "policy_adam.", "critic_adam."


@dataclass(frozen=True)
class PpoSettings(PlainFields):
    """Settings of PPO over trials."""

    learning_rate: Positive = 3e-4
    """Adam's step size for the policy, > 0."""
    critic_rate: Positive = 1e-3
    """Adam's step size for the critic, > 0."""
    epochs: Count = 4
    """Passes over the data of an iteration, >= 1."""
    minibatches: Count = 4
    """Adam steps per pass, >= 1."""
    clip: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Bound on |ratio - 1| of likelihood ratios, in (0, 1)."""
    entropy: NotNegative = 0.0
    """Weight of the policy's entropy, >= 0."""
    max_grad_norm: Positive = 0.5
    """Longest gradient of a step, > 0."""
    final_std: Positive = 0.05
    """Largest standard deviation of the policy at the end of training, > 0; until then the bound
    falls geometrically from the initial one. A policy that probes by its noise is lost without."""
    across_episodes: bool = True
    """Count the returns of a trial's later episodes too, so that finding out early pays."""


class Actor(NamedTuple):
    """A policy with the critic that trains it."""

    policy: Policy
    critic: Critic

    def init_training(self, params: Params, generator: Generator) -> Params:
        """State beside the policy's parameters: the critic, and Adam of both."""
        critic = self.critic.init(generator)
        return (
            prefixed(CRITIC, critic)
            | prefixed(POLICY_ADAM, init_adam(learned(params)))
            | prefixed(CRITIC_ADAM, init_adam(learned_of(critic)))
        )

    def evaluated(
        self, params: Mapping[str, Tensor], critic: Mapping[str, Tensor], trial: Trial
    ) -> tuple[Gaussian, Tensor, Tensor | None]:
        """Distributions and standardised values (1, N, L) of both networks, (1, ...); summaries.

        The critic's gradient does not reach the policy.
        """
        dist, summaries = self.policy.scan(params, trial)
        with torch.no_grad():
            flat = trial.observations.flatten(1, 2)
            standard = self.policy.standardised(params, flat).unflatten(1, trial.valid.shape[1:])
        return dist, self.critic.values(critic, trial, standard, summaries), summaries


def ppo_update(
    actor: Actor,
    params: Params,
    training: Params,
    trial: Trial,
    settings: PpoSettings,
    generator: Generator,
    *,
    discount: float,
    gae_lambda: float,
    pace: float = 1.0,
    policy_moves: bool = True,
) -> tuple[Params, Params, dict[str, float]]:
    """Epochs of Adam on the clipped surrogate (Eq. 7) and on the critic's squared error.

    Args:
        actor: policy and critic.
        params: of the policy that acted, without axis M.
        training: from `Actor.init_training` or the update before.
        trial: the data.
        settings: of PPO.
        generator: of the minibatches, on the CPU.
        discount, gae_lambda: gamma and lambda.
        pace: factor on the learning rates.
        policy_moves: False: only the critic learns, such as before it knows a trained policy.

    Returns:
        Parameters, training state, metrics.
    """
    critic = without_prefix(CRITIC, training)
    adams = [without_prefix(prefix, training) for prefix in (POLICY_ADAM, CRITIC_ADAM)]
    own = trial.own_part()
    with torch.no_grad():
        before, values, summaries = actor.evaluated(expand(params, 1), expand(critic, 1), own)
        values = gather_over_ranks(values, dim=1)
        mean, std = scale_of(critic)
        advantages = trial_advantages(
            trial.rewards,
            torch.where(trial.valid, mean + std * values, 0.0),
            trial.terminated | trial.truncated,
            trial.valid,
            discount,
            gae_lambda,
            across_episodes=settings.across_episodes,
        )
        returns = advantages + mean + std * values
        chosen = valid_steps(trial.valid)
        valid_advantages, valid_returns = (x.flatten()[chosen] for x in (advantages, returns))
        explained = 1 - valid_advantages.var() / valid_returns.var().clamp(min=1e-12)
        critic = with_returns(critic, valid_returns)
        mean, std = scale_of(critic)
        targets = (returns - mean) / std
        # Mean 0 and deviation 1 over all valid steps.
        advantages = (advantages - valid_advantages.mean()) / (valid_advantages.std() + 1e-8)
    data, others = trial, (advantages, targets)
    if summaries is None:
        data, others = as_steps(trial, *others)

    def losses(
        policy_params: Params, critic_params: Params, which: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, which = data.valid[:, which].sum(), own_slice(which)
        part, (advantage, target) = data.some_worlds(which), (other[:, which] for other in others)
        networks = expand(policy_params, 1), expand(critic_params, 1)
        dist, values, _ = actor.evaluated(*networks, part)
        ratio = (log_prob(dist, part.actions) - part.log_probs).exp()
        bounded = ratio.clamp(1 - settings.clip, 1 + settings.clip)
        gain = torch.minimum(ratio * advantage, bounded * advantage)
        gain = part_of_mean(gain, part.valid, total)
        if settings.entropy:
            noise = entropy(dist).expand(part.valid.shape)
            gain = gain + settings.entropy * part_of_mean(noise, part.valid, total)
        return -gain, part_of_mean((values - target).square(), part.valid, total)

    moving, fitted, norms, errors = learned(params), learned_of(critic), [], []
    parts, device = (settings.minibatches, settings.epochs), data.valid.device
    for which in shuffled(data.valid.shape[1], *parts, generator, device):
        policy_leaves, critic_leaves = leaves(moving), leaves(fitted)
        policy_loss, value_loss = losses(params | policy_leaves, critic | critic_leaves, which)
        own_gradient = prefixed(CRITIC, gradient_at(critic_leaves, value_loss))
        if policy_moves:
            own_gradient |= gradient_at(policy_leaves, policy_loss)
        summed = sum_by_name(own_gradient)
        if policy_moves:
            gradient, norm = clipped({n: summed[n] for n in moving}, settings.max_grad_norm)
            rate = pace * settings.learning_rate
            moving, adams[0] = adam_step(moving, gradient, adams[0], rate, rate)
            norms.append(norm)
        gradient, _ = clipped(without_prefix(CRITIC, summed), settings.max_grad_norm)
        rate = pace * settings.critic_rate
        fitted, adams[1] = adam_step(fitted, gradient, adams[1], rate, rate)
        errors.append(value_loss.detach())
    params, critic = params | moving, critic | fitted
    with torch.no_grad():
        dist = actor.policy.distribution(expand(params, 1), own)
        kl = part_of_mean(kl_divergence(before, dist), own.valid, trial.valid.sum())
        summed = sum_by_name({"kl": kl, "errors": torch.stack(errors)})
        metrics = {
            "train/approx_kl": float(summed["kl"]),
            "train/value_loss": float(summed["errors"].mean()),
            "train/explained_variance": float(explained),
            "train/std": float(actor.policy.log_std(params).exp().mean()),
        }
    if norms:
        metrics["train/grad_norm"] = float(torch.stack(norms).mean())
    training = training | prefixed(CRITIC, critic)
    training |= prefixed(POLICY_ADAM, adams[0]) | prefixed(CRITIC_ADAM, adams[1])
    return params, training, metrics


def largest_std(policy: Policy, final_std: float, progress: float) -> float:
    """Bound on the policy's standard deviation at this share of training, in [0, 1]."""
    first = policy.config.init_std
    return first * (min(final_std, first) / first) ** progress


def paced(progress: float, final_rate: float) -> float:
    """Factor on learning rates that falls along half a cosine from 1 to `final_rate`."""
    return final_rate + (1 - final_rate) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def shuffled(
    count: int, parts: int, epochs: int, generator: Generator, device: torch.device
) -> list[Tensor]:
    """Indices of `count` things in `parts` random parts, anew in each epoch, on a device."""
    orders = [
        torch.randperm(count, generator=generator, device=generator.device) for _ in range(epochs)
    ]
    on_device = torch.stack(orders).to(device)  # one copy, before the first of many steps
    return [chunk for order in on_device for chunk in order.chunk(min(parts, count))]


def leaves(params: Mapping[str, Tensor]) -> Params:
    """The same values, to be differentiated."""
    return {name: value.detach().requires_grad_() for name, value in params.items()}


def clipped_gradient(loss: Tensor, at: Params, max_norm: float) -> tuple[Params, Tensor]:
    """Gradient at named leaves of the sum of the processes' losses, at most so long; its length."""
    return clipped(sum_by_name(gradient_at(at, loss)), max_norm)


def gradient_at(at: Params, loss: Tensor) -> Params:
    """Gradient of this process's loss at named leaves."""
    gradients = torch.autograd.grad(loss, list(at.values()), materialize_grads=True)
    return dict(zip(at, gradients, strict=True))


def clipped(gradient: Params, max_norm: float) -> tuple[Params, Tensor]:
    """The gradient, at most so long; its length before."""
    norm = flatten(gradient).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return {name: scale * value for name, value in gradient.items()}, norm


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Params:
    """Tensors by their names with a prefix."""
    return {prefix + name: value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Params:
    """Tensors with a prefix, by their names without it."""
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}
