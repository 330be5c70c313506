"""The teacher of a student: a policy that observes the task, with what trains it.

Axes: 1 policy, N worlds, L steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.outer.critic import Critic
from metarl.outer.imitation import ACTION, LATENT
from metarl.outer.learner import LearnerParts
from metarl.outer.state import TrainState
from metarl.outer.stretches import drawn_change, with_memory
from metarl.outer.trial_ppo import (
    Actor,
    PpoSettings,
    largest_std,
    ppo_update,
    prefixed,
    without_prefix,
)
from metarl.policies.belief import Belief
from metarl.policies.mlp import Activation, MlpConfig
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params, expand, layers
from metarl.policies.privileged import TASK_FEATURES, PrivilegedPolicy
from metarl.rollouts.collect import Collector
from metarl.rollouts.stepping import TaskChange
from metarl.rollouts.trials import Trial, TrialExperience, collect_trial
from metarl_envs import InputError, Tasks

TEACHER, TEACHER_PPO = "teacher.", "teacher_ppo."
"""Prefixes of its entries in `TrainState.optimizer`: the policy, and what trains it."""


class Teacher:
    """A privileged policy and its PPO (RMA, Kumar et al. 2021, arXiv:2107.04034, phase 1).

    With a latent, the student's network after the latent is the teacher's.
    """

    def __init__(
        self,
        parts: LearnerParts,
        sizes: tuple[int, ...],
        activation: Activation,
        init_std: float,
        output: float,
        estimated: bool,
    ) -> None:
        """Of hidden layers of these sizes, unless it shares the student's.

        Raises:
            InputError: if the student is to estimate the task by a latent of another size.
        """
        self._parts, self._student = parts, with_memory(parts.policy)
        student, latent = self._student.config, self._student.config.latent_size
        features = self._features(parts.family.nominal_tasks()).shape[1]
        if estimated and latent != features:
            raise InputError(
                f"policy.latent_size = {latent} and outer.estimates_task: the latent is an "
                f"estimate of the {features} features of a task of {parts.family.name}; use "
                f"--policy.latent-size {features}"
            )
        config = MlpConfig(
            hidden_sizes=student.hidden_sizes if latent else sizes,
            activation=student.activation if latent else activation,
            action_scale=student.action_scale,
            init_std=init_std,
            normalize_observations=student.normalize_observations,
        )
        self.policy = PrivilegedPolicy(
            config,
            self._student.observation_size,
            self._student.action_low,
            self._student.action_high,
            action_middle=self._student.action_middle,
            num_features=features,
            latent_size=0 if estimated else latent,
            initial_output=output,
        )
        """The policy that observes the task."""
        self._actor = Actor(self.policy, Critic(self._student.observation_size, features=features))
        self._acts: Collector | None = None

    def init(self, generator: torch.Generator) -> Params:
        """Fresh entries of the state."""
        params = self.policy.init(generator)
        training = self._actor.init_training(params, generator)
        return prefixed(TEACHER, params) | prefixed(TEACHER_PPO, training)

    def collect(
        self, collector: Collector, state: TrainState, tasks: Tasks, changes: float
    ) -> TrialExperience:
        """An episode of every world; a share of the tasks changes at the same random step."""
        rng, (M, E), length = state.generators, self._parts.worlds, self._parts.horizon
        change = drawn_change(self._parts, state, tasks, length, changes)
        return collect_trial(
            self._collector(collector),
            without_prefix(TEACHER, state.optimizer),
            tasks,
            self._features,
            1,
            rng.resets,
            rng.actions,
            self._belief(tasks, (M, E)),
            change and (change[0], TaskChange(change[1], self._belief(change[1], (1, M * E)))),
        )

    def learn(
        self,
        own: Params,
        trial: Trial,
        settings: PpoSettings,
        generator: torch.Generator,
        pace: float,
    ) -> tuple[Params, dict[str, float]]:
        """A step of PPO: the state's entries with the new ones, and metrics."""
        params, training, metrics = ppo_update(
            self._actor,
            without_prefix(TEACHER, own),
            without_prefix(TEACHER_PPO, own),
            trial,
            settings,
            generator,
            discount=self._parts.inner.discount,
            gae_lambda=self._parts.inner.gae_lambda,
            pace=pace,
        )
        observed = torch.cat([trial.observations, trial.features], dim=-1)
        params = self.policy.update_statistics(params, observed, trial.valid)
        return own | prefixed(TEACHER, params) | prefixed(TEACHER_PPO, training), metrics

    def quieter(self, own: Params, final_std: float, progress: float) -> Params:
        """The state's entries with noise within the bound at this share of its iterations."""
        loudest = largest_std(self.policy, final_std, progress)
        params = self.policy.quieter(without_prefix(TEACHER, own), loudest)
        return own | prefixed(TEACHER, params)

    @torch.no_grad()
    def targets(self, own: Params, trial: Trial) -> Params:
        """Its mean actions (1, N, L, A) and latents (1, N, L, Z) in trials of the student."""
        params, steps = expand(without_prefix(TEACHER, own), 1), trial.valid.shape[1:]
        features = trial.features.flatten(1, 2)
        actions = self.policy.mean(params, trial.observations.flatten(1, 2), features)
        targets = {ACTION: self.policy.sent(actions).unflatten(1, steps)}
        if self._student.config.latent_size:
            targets[LATENT] = self.policy.latent(params, features).unflatten(1, steps)
        return targets

    def taught(self, params: Params, own: Params) -> Params:
        """The student's parameters with the teacher's normaliser and, with a latent, its head.

        A student that has a normaliser already, such as one from `--start`, keeps it, unless its
        head becomes the teacher's, which reads the teacher's.
        """
        teacher, O = without_prefix(TEACHER, own), self._student.observation_size
        known, params = self.policy.statistics(teacher), dict(params)
        own_known = self._student.statistics(params)
        shares_head = self._student.config.latent_size > 0
        if known and (shares_head or (own_known and not own_known.samples.any())):
            mean, variance, samples = known
            params |= Statistics(mean[:O].clone(), variance[:O].clone(), samples.clone()).entries()
        if shares_head:
            params |= {name: value.clone() for name, value in layers(teacher).items()}
        return params

    def _collector(self, collector: Collector) -> Collector:
        """One per environment: on a GPU its first collection captures a time step."""
        if self._acts is None or self._acts.env is not collector.env:
            self._acts = Collector(collector.env, self.policy, share=collector.share)
        return self._acts

    def _belief(self, tasks: Tasks, worlds: tuple[int, int]) -> Belief:
        """The features of the true task in every world."""
        features = self._features(tasks).float()
        times = worlds[0] * worlds[1] // len(tasks)
        return {TASK_FEATURES: features.repeat_interleave(times, dim=0).reshape(*worlds, -1)}

    def _features(self, tasks: Tasks) -> Tensor:
        return self._parts.family.task_features(tasks)
