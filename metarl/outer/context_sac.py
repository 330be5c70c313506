"""Gradient steps of soft actor-critic with a latent context, on many tasks at once.

The encoder learns from the critics' error, from the posterior's divergence from the prior and, if
asked, from a contrast of tasks. The actor's gradient ends at z, and at the critics. Axes: G trials,
L steps of a trial, B transitions of each in a step, Z latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.distributed import own_slice, sum_by_name, whole_of, world_size
from metarl.outer import sac
from metarl.outer.contrast import info_nce, same_tasks
from metarl.outer.trial_ppo import leaves, prefixed, without_prefix
from metarl.policies.context import ContextPolicy, sampled
from metarl.policies.gaussian import Gaussian, kl_divergence
from metarl.policies.mlp import forward, init_layers
from metarl.policies.normaliser import VAR_FLOOR, Statistics
from metarl.policies.params import Params, detach, learned
from metarl.policies.set_encoders import Evidence
from metarl.rollouts.replay import Transitions, drawn_steps, drawn_trials
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, PositiveShare
from metarl_envs.inputs.plain import PlainFields

CRITIC, TARGET, ADAM = "critic.", "target.", "adam."
TEMPERATURE = "log_temperature"
INITIAL_TEMPERATURE = 0.1
"""Deviations of a reward that one nat of entropy is worth at first."""
CONTRAST_TEMPERATURE = 0.5


@dataclass(frozen=True)
class SacSettings(PlainFields):
    """Settings of a gradient step."""

    tasks_per_step: Count = 16
    """Trials in a gradient step, >= 1."""
    transitions_per_task: Count = 32
    """Transitions of each trial in a gradient step, >= 1, each with a context of its own."""
    learning_rate: Positive = 1e-3
    """Adam's step size, > 0."""
    target_rate: PositiveShare = 0.05
    """Share by which the target critics follow the critics in a step, in (0, 1]."""
    critic_sizes: tuple[Count, ...] = (128, 128)
    """Units of each hidden layer of the critics."""
    kl_weight: NotNegative = 1e-3
    """Weight of the posterior's divergence from the prior in the encoder's loss, >= 0."""
    contrast_weight: NotNegative = 0.0
    """Weight of the contrast of tasks (InfoNCE) in the encoder's loss, >= 0; 0: none."""


class Batch(NamedTuple):
    """Data of a gradient step: G trials, B transitions of each, and noise."""

    trials: Transitions  # (G, L, ...) for contexts
    transitions: Transitions  # (G, B, ...)
    context: Tensor  # (G, B) number of transitions that each one's z is inferred from
    halves: Tensor  # (G, L) one of two halves of a trial, for the contrast
    latent_noise: Tensor  # (G, B, Z)
    action_noise: Tensor  # (2, G, B, A) of actions before and after the transitions
    tasks: Tensor  # (G, F) features of the true tasks, of the trials of all processes

    def own_part(self) -> Batch:
        """This process's part of the trials."""
        if world_size() == 1:
            return self
        which = own_slice(torch.arange(self.context.shape[0], device=self.context.device))
        return Batch(
            Transitions(*(value[which] for value in self.trials)),
            Transitions(*(value[which] for value in self.transitions)),
            self.context[which],
            self.halves[which],
            self.latent_noise[which],
            self.action_noise[:, which],
            self.tasks,
        )


class Losses(NamedTuple):
    """Losses of a gradient step, each (); the modules that each one's gradient reaches."""

    critic: Tensor  # critics and encoder
    kl: Tensor  # encoder
    contrast: Tensor  # encoder
    actor: Tensor  # actor
    temperature: Tensor  # temperature


def init_training(
    policy: ContextPolicy,
    params: Params,
    settings: SacSettings,
    discount: float,
    generator: Generator,
) -> Params:
    """Fresh critics (2, ...), their targets, the temperature and Adam's state of all."""
    read = policy.observation_size + policy.config.latent_size + policy.action_size
    sizes = (read, *settings.critic_sizes, 1)
    pair = [init_layers(sizes, generator) for _ in range(2)]
    critic = {name: torch.stack([one[name] for one in pair]) for name in pair[0]}
    temperature = torch.tensor(INITIAL_TEMPERATURE * (1 - discount))
    training = prefixed(CRITIC, critic) | {TEMPERATURE: temperature.log()}
    adam = prefixed(ADAM, init_adam(learned(params) | training))
    target = {TARGET + name: value.clone() for name, value in critic.items()}
    return training | target | adam


def drawn_batch(
    policy: ContextPolicy,
    replay: Params,
    places: Tensor,
    settings: SacSettings,
    generator: Generator,
) -> Batch:
    """Random trials and transitions of the replay, from its places with any (`filled`)."""
    trials = drawn_trials(replay, places, settings.tasks_per_step, generator)
    (G, L), B = trials.rewards.shape, settings.transitions_per_task
    device = generator.device
    return Batch(
        trials,
        trials.at(drawn_steps(trials.lengths, B, generator)),
        drawn_steps(trials.lengths + 1, B, generator),
        torch.rand((G, L), generator=generator, device=device) < 0.5,
        torch.randn((G, B, policy.config.latent_size), generator=generator, device=device),
        torch.randn((2, G, B, policy.action_size), generator=generator, device=device),
        trials.features,
    )


def sac_step(
    policy: ContextPolicy,
    params: Params,
    training: Params,
    batch: Batch,
    rewards: Statistics,
    settings: SacSettings,
    discount: float,
) -> tuple[Params, Params, Losses]:
    """One step of Adam on all modules: new parameters, new training state, the losses before.

    Where processes share the step, each has the whole batch, and the losses are its parts of them.
    """
    moving = learned(params) | {
        name: value
        for name, value in training.items()
        if name.startswith(CRITIC) or name == TEMPERATURE
    }
    free = leaves(moving)
    losses = sac_losses(policy, params | free, training | free, batch.own_part(), rewards, discount)
    total = (
        losses.critic
        + settings.kl_weight * losses.kl
        + settings.contrast_weight * losses.contrast
        + losses.actor
        + losses.temperature
    )
    gradient = torch.autograd.grad(total, list(free.values()), materialize_grads=True)
    gradient = sum_by_name(dict(zip(free, gradient, strict=True)))
    rate, adam = settings.learning_rate, without_prefix(ADAM, training)
    moved, adam = adam_step(moving, gradient, adam, rate, rate)
    followed = {
        name: value.lerp(moved[CRITIC + name.removeprefix(TARGET)], settings.target_rate)
        for name, value in training.items()
        if name.startswith(TARGET)
    }
    params = params | {name: moved[name] for name in learned(params)}
    kept = {name: moved[name] for name in moving if name not in params}
    losses = losses._replace(contrast=losses.contrast / world_size())
    return params, training | kept | followed | prefixed(ADAM, adam), Losses(*detached(losses))


def sac_losses(
    policy: ContextPolicy,
    params: Params,
    training: Params,
    batch: Batch,
    rewards: Statistics,
    discount: float,
) -> Losses:
    """The losses of a gradient step, each of which only reaches the modules that it trains.

    Of a part of a step's trials they are its parts of the means over all; the contrast, which
    compares each trial with all, is whole, and differentiable in this part's embeddings.
    """
    share = len(batch.context) / len(batch.tasks)
    trials, transitions = batch.trials, batch.transitions
    factors = policy.factors(
        params, trials.observations, trials.actions, trials.rewards, trials.following
    )
    contexts = factors.so_far(trials.valid())  # (G, L + 1, Z)
    index = batch.context.unsqueeze(-1).expand_as(batch.latent_noise)
    posterior = Evidence(*(term.gather(1, index) for term in contexts)).posterior()
    z = sampled(posterior, batch.latent_noise)
    known = z.detach()

    critic, target = without_prefix(CRITIC, training), without_prefix(TARGET, training)
    temperature = training[TEMPERATURE].exp().detach()
    with torch.no_grad():
        after = policy.standardised(params, transitions.following)
        action, log_prob = acted(policy, params, after, known, batch.action_noise[1])
        value = sac.soft_value(q_values(target, after, known, action), log_prob, temperature)
        deviation = (rewards.variance + VAR_FLOOR).sqrt()
        scaled = (1 - discount) * (transitions.rewards - rewards.mean) / deviation
        end = -rewards.mean / deviation
        goal = sac.targets(scaled, transitions.terminated, value, discount, end)
    before = policy.standardised(params, transitions.observations)
    values = q_values(critic, before, z, transitions.actions)
    errors = sac.critic_loss(values, goal) / (1 - discount) ** 2
    action, log_prob = acted(policy, params, before, known, batch.action_noise[0])
    values = q_values(detach(critic), before, known, action)
    prior = Gaussian(torch.zeros_like(z), torch.zeros_like(z))
    one = factors.total(trials.valid() & batch.halves).posterior().mean
    other = factors.total(trials.valid() & ~batch.halves).posterior().mean
    one, other = whole_of(torch.stack([one, other], dim=1), len(batch.tasks)).unbind(1)
    temperature_loss = sac.temperature_loss(
        training[TEMPERATURE], log_prob, -float(policy.action_size)
    )
    return Losses(
        critic=share * errors,
        kl=share * kl_divergence(posterior, prior).mean(),
        contrast=info_nce(one, other, same_tasks(batch.tasks), CONTRAST_TEMPERATURE),
        actor=share * sac.actor_loss(values, log_prob, temperature),
        temperature=share * temperature_loss,
    )


def acted(
    policy: ContextPolicy, params: Mapping[str, Tensor], standard: Tensor, z: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Squashed actions (..., A) of the policy with noise, and their log-density (...)."""
    unit = policy.config.action_scale
    mean, log_std = policy.mean(params, standard, z) / unit, policy.log_std(params)
    dist = Gaussian(mean, log_std - torch.tensor(unit).log())
    outputs = sampled(dist, noise)
    return torch.tanh(outputs), sac.squashed_log_prob(dist, outputs)


def q_values(critic: Mapping[str, Tensor], standard: Tensor, z: Tensor, actions: Tensor) -> Tensor:
    """Values of both critics: (G, B, ...) -> (2, G, B)."""
    inputs = torch.cat([standard, z, actions], dim=-1)
    values = forward(critic, inputs.flatten(0, 1), "relu")
    return values.squeeze(-1).unflatten(1, inputs.shape[:2])


def detached(losses: Losses) -> list[Tensor]:
    """Values of the losses without gradient history."""
    return [loss.detach() for loss in losses]
