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
- **Scale.** Rewards are divided by their standard deviation in the replay and multiplied by 1 -
  gamma, so that values are of the order of 1 in every family and no thousands of steps go by until
  the critics reach them. The critics' errors count in units of that deviation, so that weights of
  the other losses have the same meaning in every family.
- **Critics**: two, with the minimum, and no separate state value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.outer import sac
from metarl.outer.contrast import info_nce, same_tasks
from metarl.outer.learner import Learner, LearnerParts, LearnerSettings, Update
from metarl.outer.meta_gradient import CPU, update_normaliser
from metarl.outer.state import Generators, TrainState
from metarl.outer.trial_ppo import leaves, prefixed, without_prefix
from metarl.policies.base import Policy
from metarl.policies.context import OFFSET, ContextPolicy, sampled
from metarl.policies.gaussian import Gaussian, kl_divergence
from metarl.policies.mlp import forward, init_layers
from metarl.policies.params import Params, detach, learned, to
from metarl.policies.set_encoders import Evidence
from metarl.rollouts.collect import Collector, stream_on
from metarl.rollouts.replay import (
    Transitions,
    drawn_steps,
    drawn_trials,
    empty,
    stored,
    transitions_of,
    with_trials,
)
from metarl.rollouts.trials import TrialExperience, collect_trial
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, PositiveShare

CRITIC, TARGET, REPLAY, ADAM = "critic.", "target.", "replay.", "adam."
TEMPERATURE = "log_temperature"
INITIAL_LOG_TEMPERATURE = -7.0
"""Natural logarithm, for values of the order of 1."""
CONTRAST_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Pearl(LearnerSettings):
    """Soft actor-critic with a context, on many tasks in every step."""

    trial_episodes: Count = 2
    """Episodes of a trial, >= 1."""
    replay_trials: Count = 1000
    """Newest trials that the replay holds, >= 1."""
    steps: Count = 64
    """Gradient steps per iteration, >= 1."""
    tasks_per_step: Count = 16
    """Trials in a gradient step, >= 1."""
    transitions_per_task: Count = 32
    """Transitions of each trial in a gradient step, >= 1, each with a context of its own."""
    learning_rate: Positive = 1e-3
    """Adam's step size, > 0."""
    target_rate: PositiveShare = 0.01
    """Share by which the target critics follow the critics in a step, in (0, 1]."""
    critic_sizes: tuple[Count, ...] = (128, 128)
    """Units of each hidden layer of the critics."""
    kl_weight: NotNegative = 0.01
    """Weight of the posterior's divergence from the prior in the encoder's loss, >= 0."""
    contrast_weight: NotNegative = 0.0
    """Weight of the contrast of tasks (InfoNCE) in the encoder's loss, >= 0; 0: none."""

    def learner(self, parts: LearnerParts) -> Learner:
        return PearlLearner(self, parts)


class Batch(NamedTuple):
    """Data of a gradient step: G trials, B transitions of each, and noise."""

    trials: Transitions  # (G, L, ...) for contexts
    transitions: Transitions  # (G, B, ...) rewards scaled
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
        training = init_training(self._policy, params, self._settings, generators.init)
        replay = empty(
            self._settings.replay_trials,
            self._settings.trial_episodes * self._parts.horizon,
            self._policy.observation_size,
            self._policy.action_size,
            self._parts.family.task_features(self._parts.family.nominal_tasks()).shape[1],
        )
        return TrainState(params, generators, training | prefixed(REPLAY, replay))

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        """One trial in every world, with a z from the prior that follows the posterior."""
        collector.env.set_tasks(tasks)
        rng, Z = state.generators, self._policy.config.latent_size
        one = {name: value.unsqueeze(0) for name, value in state.params.items()}
        (M, E), begun = self._parts.worlds, self._policy.begin(one, 1)
        belief = {n: v.expand(M, E, *v.shape[2:]) for n, v in begun.items()}
        belief[OFFSET] = torch.randn((M, E, Z), generator=rng.actions)
        return collect_trial(
            collector,
            state.params,
            tasks,
            self._parts.family.task_features(tasks),
            self._settings.trial_episodes,
            rng.resets,
            rng.actions,
            belief,
        )

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        settings, device = self._settings, self._parts.device
        params = update_normaliser(self._policy, state.params, experience.rollouts)
        params, training = to(params, device), to(state.optimizer, device)
        replay = without_prefix(REPLAY, training)
        replay = with_trials(replay, transitions_of(self._policy, experience.trial.to(device)))
        rng, discount = stream_on(device, state.generators.order), self._parts.inner.discount
        scale = (1 - discount) / reward_deviation(stored(replay))
        logged: list[Tensor] = []
        for _ in range(settings.steps):
            batch = drawn_batch(self._policy, replay, scale, settings, rng)
            params, training, losses = sac_step(
                self._policy, params, training, batch, settings, discount
            )
            logged.append(torch.stack(losses))
        means = torch.stack(logged).mean(0).tolist()
        metrics = {f"train/{n}_loss": v for n, v in zip(Losses._fields, means, strict=True)}
        metrics["train/temperature"] = float(training[TEMPERATURE].exp())
        metrics["train/std"] = float(self._policy.log_std(params).exp().mean())
        return Update(to(params, CPU), to(training | prefixed(REPLAY, replay), CPU), metrics)


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
    policy: ContextPolicy, params: Params, settings: Pearl, generator: Generator
) -> Params:
    """Fresh critics (2, ...), their targets, the temperature and Adam's state of all."""
    read = policy.observation_size + policy.config.latent_size + policy.action_size
    sizes = (read, *settings.critic_sizes, 1)
    pair = [init_layers(sizes, generator) for _ in range(2)]
    critic = {name: torch.stack([one[name] for one in pair]) for name in pair[0]}
    training = prefixed(CRITIC, critic) | {TEMPERATURE: torch.tensor(INITIAL_LOG_TEMPERATURE)}
    adam = prefixed(ADAM, init_adam(learned(params) | training))
    return training | prefixed(TARGET, critic) | adam


def drawn_batch(
    policy: ContextPolicy, replay: Params, scale: Tensor, settings: Pearl, generator: Generator
) -> Batch:
    """Random trials and transitions of the replay; rewards are multiplied by the scale."""
    trials = drawn_trials(replay, settings.tasks_per_step, generator)
    (G, L), B = trials.rewards.shape, settings.transitions_per_task
    transitions = trials.at(drawn_steps(trials.lengths, B, generator))
    like = {"generator": generator, "device": generator.device}
    return Batch(
        trials,
        transitions._replace(rewards=scale * transitions.rewards),
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
    losses = sac_losses(policy, params | free, training | free, batch, discount)
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
    policy: ContextPolicy, params: Params, training: Params, batch: Batch, discount: float
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
        goal = sac.targets(transitions.rewards, transitions.terminated, value, discount)
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


def reward_deviation(known: Transitions) -> Tensor:
    """Standard deviation of all rewards in the replay: ()."""
    return known.rewards[known.valid()].std().clamp(min=1e-8)


def detached(losses: Losses) -> list[Tensor]:
    """Values of the losses without gradient history."""
    return [loss.detach() for loss in losses]
