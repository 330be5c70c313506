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
  level of values, and until then states without data look better than all others (navigation,
  gamma 0.99, target rate 0.01: returns fell from -75 to -420 in the first 24 iterations). The
  critics' errors count in deviations of a reward, so that other losses' weights mean the same
  everywhere.
- **Critics**: two, with the minimum, and no separate state value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.distributed import sum_over_ranks, world_size
from metarl.outer.context_sac import (
    TEMPERATURE,
    Losses,
    SacSettings,
    drawn_batch,
    init_training,
    sac_step,
)
from metarl.outer.learner import (
    Learner,
    LearnerParts,
    Update,
    WithinEpisode,
)
from metarl.outer.meta_gradient import CPU, update_normaliser
from metarl.outer.state import Generators, TrainState
from metarl.outer.stretches import begun
from metarl.outer.trial_ppo import prefixed, without_prefix
from metarl.policies.base import Policy
from metarl.policies.context import OFFSET, ContextPolicy
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params, to
from metarl.rollouts.collect import Collector, stream_on
from metarl.rollouts.replay import Transitions, empty, filled, transitions_of, with_trials
from metarl.rollouts.trials import TrialExperience, collect_trial
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count

REPLAY, REWARDS = "replay.", "rewards."


@dataclass(frozen=True)
class Pearl(SacSettings, WithinEpisode):
    """Soft actor-critic with a context, on many tasks in every step."""

    replay_trials: Count = 1000
    """Newest trials that the replay holds, >= 1."""
    steps: Count = 128
    """Gradient steps per iteration, >= 1."""

    def learner(self, parts: LearnerParts) -> Learner:
        return PearlLearner(self, parts)


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
        if settings.tasks_per_step < world_size():
            raise InputError(
                f"outer.tasks_per_step = {settings.tasks_per_step}: must be at least the number of "
                f"processes, {world_size()}, which share the trials of a gradient step"
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
        places, logged = filled(replay), list[Tensor]()  # asked once: no step waits for it
        for _ in range(settings.steps):
            batch = drawn_batch(self._policy, replay, places, settings, rng)
            params, training, losses = sac_step(
                self._policy, params, training, batch, rewards, settings, discount
            )
            logged.append(torch.stack(losses))
        means = sum_over_ranks(torch.stack(logged).mean(0)).tolist()
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


def reward_statistics(training: Params, new: Transitions) -> Statistics:
    """Statistics of all rewards so far, the new ones included: each (1,)."""
    known = Statistics(**without_prefix(REWARDS, training))
    updated = known.updated(new.rewards[new.valid()].unsqueeze(-1))
    return Statistics(*(value.to(new.rewards) for value in updated))
