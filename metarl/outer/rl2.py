"""RL^2: PPO through a memory over whole trials.

Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763. The memory reads actions,
rewards and ends of episodes, and the return of the whole trial is what it is trained for: finding
out the task becomes part of acting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metarl.outer.continued import settings_above_zero, trials_after
from metarl.outer.learner import (
    Learner,
    LearnerParts,
    Update,
    WithinEpisode,
)
from metarl.outer.meta_gradient import CPU, update_normaliser
from metarl.outer.state import Generators, TrainState
from metarl.outer.stretches import (
    collect_stretch,
    critic_of,
    fresh_trials,
    standing_still,
    with_memory,
)
from metarl.outer.trial_ppo import Actor, PpoSettings, largest_std, paced, ppo_update
from metarl.policies.base import Policy
from metarl.policies.params import to
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import TrialExperience
from metarl_envs import Tasks
from metarl_envs.inputs.numbers import Natural, Share


@dataclass(frozen=True)
class Rl2(PpoSettings, WithinEpisode):
    """PPO over trials of a policy with a memory."""

    goes_on: Share = 0.0
    """Probability that a trial goes on in the next iteration, in [0, 1]."""
    changes: Share = 0.0
    """Share of the trials whose task changes in an iteration, at a random step, in [0, 1]: for
    robots that break in mid-life."""
    critic: Literal["memory", "task"] = "memory"
    """Knowledge of the critic: a memory of its own, or the true task and the policy's memory."""
    final_rate: Share = 0.1
    """Factor on both step sizes at the end of training; until then they follow half a cosine."""
    critic_first: Natural = 0
    """Iterations in which the critic alone learns, such as before a policy of `--start` moves."""

    @property
    def runs_other_tasks(self) -> str:
        return settings_above_zero(goes_on=self.goes_on, changes=self.changes)

    def learner(self, parts: LearnerParts) -> Learner:
        return Rl2Learner(self, parts)


class Rl2Learner(Learner[TrialExperience]):
    """Collects a stretch of every task's trial, and takes PPO's steps on it."""

    def __init__(self, settings: Rl2, parts: LearnerParts) -> None:
        self._settings, self._parts = settings, parts
        self._actor = Actor(with_memory(parts.policy), critic_of(parts, settings.critic))

    @property
    def policy(self) -> Policy:
        return self._parts.policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = standing_still(self.policy, generators.init)
        training = self._actor.init_training(params, generators.init)
        return TrainState(params, generators, training | fresh_trials(self._parts, params))

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        length, changes = self._settings.trial_episodes, self._settings.changes
        return collect_stretch(collector, self._parts, state, tasks, length, changes)

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        parts, settings = self._parts, self._settings
        progress = state.iteration / parts.iterations
        params, training, metrics = ppo_update(
            self._actor,
            to(state.params, parts.device),
            to(state.optimizer, parts.device),
            experience.trial.to(parts.device),
            settings,
            state.generators.order,
            discount=parts.inner.discount,
            gae_lambda=parts.inner.gae_lambda,
            pace=paced(progress, settings.final_rate),
            policy_moves=state.iteration >= settings.critic_first,
        )
        params = self.policy.quieter(params, largest_std(self.policy, settings.final_std, progress))
        params = update_normaliser(self.policy, params, experience.rollouts)
        training = to(training, CPU) | trials_after(
            experience.tasks, experience.belief, settings.goes_on, state.generators.order
        )
        return Update(params, training, metrics)
