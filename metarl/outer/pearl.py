"""PEARL: soft actor-critic with a latent context, from a replay by task.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables" (arXiv:1903.08254), Algorithm 1. A set encoder infers a posterior of the latent z from
transitions of a task; actor and critics read a sample of it. The encoder learns from the critics'
error and from the divergence from the prior (and from a contrast of tasks, if asked); the actor's
gradient ends at z. What differs from the paper, and why:

- **Data.** Simulation gives tasks without end, so every iteration has fresh ones instead of a fixed
  set, and the replay holds whole trials. z is drawn from the prior at the beginning of a trial, and
  follows the posterior of what the trial has shown so far, at every step.
- **Contexts** are what the policy has when it acts: the transitions before a random step of the
  same trial, from none to all. So no number of transitions is met for the first time when deployed.
- **Divergence.** A mean over tasks and contexts. In PEARL's code it is a sum over tasks beside
  errors that are means, so that its weight grows with the meta-batch.
- **Scale.** Values are averages: a reward counts as (1 - gamma) (r - mean) / deviation, with mean
  and deviation of all rewards so far, and the state after a termination as -mean / deviation, which
  is a return of 0. No policy changes by that, but critics are of the order of 1 in every family and
  begin near the truth. Else bootstrapping takes 1 / (target_rate (1 - gamma)) steps to find the
  level of values, and until then states without data look better than all others. The critics'
  errors count in deviations of a reward, so that other losses' weights mean the same everywhere.
- **Critics**: two, with the minimum, and no separate state value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.adaptation.base import Adaptation
from metarl.outer import sac
from metarl.outer.contrast import info_nce, same_tasks
from metarl.outer.learner import (
    Learner,
    LearnerParts,
    LearnerSettings,
    Phase,
    Update,
    check_unadapted,
)
from metarl.outer.meta_gradient import CPU, update_normaliser
from metarl.outer.rl2 import begun
from metarl.outer.state import Generators, TrainState
from metarl.outer.trial_ppo import leaves, prefixed, without_prefix
from metarl.policies.base import Policy
from metarl.policies.context import OFFSET, ContextPolicy, sampled
from metarl.policies.gaussian import Gaussian, kl_divergence
from metarl.policies.mlp import forward, init_layers
from metarl.policies.normaliser import VAR_FLOOR, Statistics
from metarl.policies.params import Params, detach, learned, to
from metarl.policies.set_encoders import Evidence
from metarl.rollouts.collect import Collector, stream_on
from metarl.rollouts.replay import (
    Transitions,
    drawn_steps,
    drawn_trials,
    empty,
    transitions_of,
    with_trials,
)
from metarl.rollouts.trials import TrialExperience, collect_trial
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, PositiveShare

CRITIC, TARGET, ADAM = "critic.", "target.", "adam."
REPLAY, REWARDS = "replay.", "rewards."
TEMPERATURE = "log_temperature"
INITIAL_TEMPERATURE = 0.1
"""Deviations of a reward that one nat of entropy is worth at first."""
CONTRAST_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Pearl(LearnerSettings):
    """Soft actor-critic with a context, on many tasks in every step."""

    trial_episodes: Count = 2
    """Episodes of a trial, >= 1."""
    replay_trials: Count = 1000
    """Newest trials that the replay holds, >= 1."""
    steps: Count = 128
    """Gradient steps per iteration, >= 1."""
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

    def learner(self, parts: LearnerParts) -> Learner:
        return PearlLearner(self, parts)

    def phases(self, iterations: int, adaptation_steps: int) -> list[Phase]:
        return [Phase("", iterations, self.trial_episodes)]

    def collections_held(self, adaptation_steps: int) -> int:
        return self.trial_episodes

    def check(self, adaptation: Adaptation) -> None:
        check_unadapted("PEARL", adaptation)


class Batch(NamedTuple):
    """Data of a gradient step: G trials, B transitions of each, and noise."""

    trials: Transitions  # (G, L, ...) for contexts
    transitions: Transitions  # (G, B, ...)
    context: Tensor  # (G, B) number of transitions that each one's z is inferred from
    halves: Tensor  # (G, L) one of two halves of a trial, for the contrast
    latent_noise: Tensor  # (G, B, Z)
    action_noise: Tensor  # (2, G, B, A) of actions before and after the transitions


class Losses(NamedTuple):
    """Losses of a gradient step, each (); the modules that each one's gradient reaches."""

    critic: Tensor  # critics and encoder
    kl: Tensor  # encoder
    contrast: Tensor  # encoder
    actor: Tensor  # actor
    temperature: Tensor  # temperature


class PearlLearner(Learner[TrialExperience]):
    """Collects a trial in every world, adds it to the replay, and takes steps of SAC."""

    def __init__(self, settings: Pearl, parts: LearnerParts) -> None:
        """Store the parts.

        Raises:
            InputError: for a policy without a context, or a replay smaller than an iteration.
        """
        self._settings, self._parts = settings, parts
        self._policy = with_context(parts.policy)
        M, E = parts.worlds
        if settings.replay_trials < M * E:
            raise InputError(
                f"outer.replay_trials = {settings.replay_trials}: must be at least "
                f"meta_batch_size * episodes_per_task = {M * E}, the trials of an iteration"
            )

    @property
    def policy(self) -> Policy:
        return self._policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = self._policy.init(generators.init)
        training = init_training(
            self._policy, params, self._settings, self._parts.inner.discount, generators.init
        )
        replay = empty(
            self._settings.replay_trials,
            self._settings.trial_episodes * self._parts.horizon,
            self._policy.observation_size,
            self._policy.action_size,
            self._parts.family.task_features(self._parts.family.nominal_tasks()).shape[1],
        )
        rewards = prefixed(REWARDS, Statistics.fresh(1)._asdict())
        return TrainState(params, generators, training | prefixed(REPLAY, replay) | rewards)

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        """One trial in every world, with a z from the prior that follows the posterior."""
        rng, belief = state.generators, begun(self._parts, state.params)
        belief |= {OFFSET: torch.randn(belief[OFFSET].shape, generator=rng.actions)}
        return collect_trial(
            collector,
            state.params,
            tasks,
            self._parts.family.task_features,
            self._settings.trial_episodes,
            rng.resets,
            rng.actions,
            belief,
        )

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        settings, device = self._settings, self._parts.device
        params = update_normaliser(self._policy, state.params, experience.rollouts)
        params, training = to(params, device), to(state.optimizer, device)
        new = transitions_of(self._policy, experience.trial.to(device))
        replay = with_trials(without_prefix(REPLAY, training), new)
        rng, discount = stream_on(device, state.generators.order), self._parts.inner.discount
        rewards = reward_statistics(training, new)
        logged: list[Tensor] = []
        for _ in range(settings.steps):
            batch = drawn_batch(self._policy, replay, settings, rng)
            params, training, losses = sac_step(
                self._policy, params, training, batch, rewards, settings, discount
            )
            logged.append(torch.stack(losses))
        means = torch.stack(logged).mean(0).tolist()
        metrics = {f"train/{n}_loss": v for n, v in zip(Losses._fields, means, strict=True)}
        metrics["train/temperature"] = float(training[TEMPERATURE].exp())
        metrics["train/std"] = float(self._policy.log_std(params).exp().mean())
        training = training | prefixed(REPLAY, replay) | prefixed(REWARDS, rewards._asdict())
        return Update(to(params, CPU), to(training, CPU), metrics)


def with_context(policy: Policy) -> ContextPolicy:
    """The policy, for a learner that needs a context.

    Raises:
        InputError: for another kind.
    """
    if not isinstance(policy, ContextPolicy):
        raise InputError(
            f"policy of type {type(policy).__name__}: PEARL infers a latent context; use a policy "
            "of kind context"
        )
    return policy


def init_training(
    policy: ContextPolicy,
    params: Params,
    settings: Pearl,
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
    return training | prefixed(TARGET, critic) | adam


def drawn_batch(
    policy: ContextPolicy, replay: Params, settings: Pearl, generator: Generator
) -> Batch:
    """Random trials and transitions of the replay."""
    trials = drawn_trials(replay, settings.tasks_per_step, generator)
    (G, L), B = trials.rewards.shape, settings.transitions_per_task
    like = {"generator": generator, "device": generator.device}
    return Batch(
        trials,
        trials.at(drawn_steps(trials.lengths, B, generator)),
        drawn_steps(trials.lengths + 1, B, generator),
        torch.rand((G, L), **like) < 0.5,
        torch.randn((G, B, policy.config.latent_size), **like),
        torch.randn((2, G, B, policy.action_size), **like),
    )


def sac_step(
    policy: ContextPolicy,
    params: Params,
    training: Params,
    batch: Batch,
    rewards: Statistics,
    settings: Pearl,
    discount: float,
) -> tuple[Params, Params, Losses]:
    """One step of Adam on all modules: new parameters, new training state, the losses before."""
    moving = learned(params) | {
        name: value
        for name, value in training.items()
        if name.startswith(CRITIC) or name == TEMPERATURE
    }
    free = leaves(moving)
    losses = sac_losses(policy, params | free, training | free, batch, rewards, discount)
    total = (
        losses.critic
        + settings.kl_weight * losses.kl
        + settings.contrast_weight * losses.contrast
        + losses.actor
        + losses.temperature
    )
    gradient = torch.autograd.grad(total, list(free.values()), materialize_grads=True)
    gradient = dict(zip(free, gradient, strict=True))
    rate, adam = settings.learning_rate, without_prefix(ADAM, training)
    moved, adam = adam_step(moving, gradient, adam, rate, rate)
    followed = {
        name: value.lerp(moved[CRITIC + name.removeprefix(TARGET)], settings.target_rate)
        for name, value in training.items()
        if name.startswith(TARGET)
    }
    params = params | {name: moved[name] for name in learned(params)}
    kept = {name: moved[name] for name in moving if name not in params}
    return params, training | kept | followed | prefixed(ADAM, adam), Losses(*detached(losses))


def sac_losses(
    policy: ContextPolicy,
    params: Params,
    training: Params,
    batch: Batch,
    rewards: Statistics,
    discount: float,
) -> Losses:
    """The losses of a gradient step, each of which only reaches the modules that it trains."""
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
    return Losses(
        critic=errors,
        kl=kl_divergence(posterior, prior).mean(),
        contrast=info_nce(one, other, same_tasks(trials.features), CONTRAST_TEMPERATURE),
        actor=sac.actor_loss(values, log_prob, temperature),
        temperature=sac.temperature_loss(
            training[TEMPERATURE], log_prob, -float(policy.action_size)
        ),
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


def reward_statistics(training: Params, new: Transitions) -> Statistics:
    """Statistics of all rewards so far, the new ones included: each (1,)."""
    known = Statistics(**without_prefix(REWARDS, training))
    updated = known.updated(new.rewards[new.valid()].unsqueeze(-1))
    return Statistics(*(value.to(new.rewards) for value in updated))


def detached(losses: Losses) -> list[Tensor]:
    """Values of the losses without gradient history."""
    return [loss.detach() for loss in losses]
