"""Stretches of trials: the part of every task's trial that one iteration collects.

Shared by the learners of policies that adapt within the episode.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator

from metarl.outer.continued import no_trials, trials_now
from metarl.outer.critic import Critic
from metarl.outer.learner import LearnerParts
from metarl.outer.state import TrainState
from metarl.policies.base import Policy
from metarl.policies.belief import Belief, where
from metarl.policies.memory import MemoryPolicy
from metarl.policies.params import Params, expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.rollouts.stepping import TaskChange
from metarl.rollouts.trials import Trial, TrialExperience, collect_trial, joined
from metarl_envs import InputError, Tasks


def standing_still(policy: Policy, generator: Generator) -> Params:
    """Fresh parameters with a mean output of 0.

    A fresh network's mean is nearly the same in all states, and its robots drift: on navigation the
    first episodes returned -236 and -316 instead of -46 (seed 0).
    """
    return policy.without_mean(policy.init(generator))


def with_memory(policy: Policy) -> MemoryPolicy:
    """The policy, for learners that need a memory.

    Raises:
        InputError: for another kind.
    """
    if not isinstance(policy, MemoryPolicy):
        raise InputError(
            f"policy of type {type(policy).__name__}: adapting within an episode needs a memory; "
            "use a policy of kind memory"
        )
    return policy


def critic_of(parts: LearnerParts, knowledge: Literal["memory", "task"]) -> Critic:
    """The critic of a policy with a memory."""
    policy = with_memory(parts.policy)
    if knowledge == "memory":
        return Critic(policy.observation_size, memory=policy)
    return Critic(
        policy.observation_size,
        features=parts.family.task_features(parts.family.nominal_tasks()).shape[1],
        summary=policy.config.memory_size,
    )


def fresh_trials(parts: LearnerParts, params: Params) -> Params:
    """State of trials before the first iteration."""
    return no_trials(parts.family.nominal_tasks(parts.worlds[0]), begun(parts, params))


def begun(parts: LearnerParts, params: Params) -> Belief:
    """The belief at the start of every trial, each (M, E, ...)."""
    M, E = parts.worlds
    fresh = parts.policy.begin(expand(params, 1), M * E)
    return {name: value.reshape(M, E, *value.shape[2:]) for name, value in fresh.items()}


def collect_stretch(
    collector: Collector,
    parts: LearnerParts,
    state: TrainState,
    fresh: Tasks,
    num_episodes: int,
    changes: float,
) -> TrialExperience:
    """The next episodes of the trials that go on, and of fresh ones in the other tasks' place.

    Args:
        collector: of the environment.
        parts: of the learner.
        state: of training.
        fresh: M tasks.
        num_episodes: n.
        changes: share of the trials whose task changes, all at the same random step.
    """
    rng = state.generators
    tasks, belief = trials_now(state.optimizer, fresh, begun(parts, state.params))
    change = drawn_change(parts, state, tasks, num_episodes * parts.horizon, changes)
    return collect_trial(
        collector,
        state.params,
        tasks,
        parts.family.task_features,
        num_episodes,
        rng.resets,
        rng.actions,
        belief,
        change and (change[0], TaskChange(change[1])),
    )


def drawn_change(
    parts: LearnerParts, state: TrainState, tasks: Tasks, length: int, changes: float
) -> tuple[int, Tasks] | None:
    """A random step in a stretch of `length`, and the M tasks from then on; None: they stay.

    Args:
        parts: of the learner.
        state: of training, for its random streams.
        tasks: M, until then.
        length: L.
        changes: share of the tasks that change.
    """
    if not changes:
        return None
    rng = state.generators
    at = int(torch.randint(1, length, (), generator=rng.order))
    others = parts.family.sample_tasks(len(tasks), rng.tasks, "train").values
    changed = torch.rand(len(tasks), generator=rng.order) < changes
    return at, Tasks(where(changed, dict(others), dict(tasks.values)))


def empty_trial(parts: LearnerParts, params: Params, num_episodes: int) -> Trial:
    """A trial without valid steps, for the shapes of what is kept of trials."""
    (M, E), T = parts.worlds, parts.horizon
    O, A = parts.policy.observation_size, parts.policy.action_size
    steps, flag = (M, E, T), torch.zeros(M, E, T, dtype=torch.bool)
    empty = Rollouts(
        observations=torch.zeros(*steps, O),
        actions=torch.zeros(*steps, A),
        log_probs=torch.zeros(steps),
        rewards=torch.zeros(steps),
        terminated=flag,
        truncated=flag,
        valid=flag,
        final_observations=torch.zeros(M, E, O),
        quantity=torch.zeros(M, E),
        diverged=torch.zeros(M, E, dtype=torch.bool),
    )
    features = parts.family.task_features(parts.family.nominal_tasks(M))
    features = features.unsqueeze(1).expand(-1, num_episodes * T, -1)
    return joined([empty] * num_episodes, features, begun(parts, params))
