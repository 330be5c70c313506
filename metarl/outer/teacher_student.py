"""Teacher and student: a policy that observes the task teaches one that has to find it out.

Three phases in one run, each a share of its iterations:

1. The teacher observes the task and learns by PPO (RMA, Kumar et al. 2021, arXiv:2107.04034,
   phase 1).
2. The student, which has a memory instead, acts, and learns what the teacher would have done
   (phase 2; Lee et al. 2020, arXiv:2010.11251).
3. PPO through the student's memory, with a critic that knows the task. A teacher never needs to
   find out, so imitation of it never probes; where probing pays, the student learns it here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from metarl.adaptation.adam import init_adam
from metarl.outer.continued import trials_after
from metarl.outer.critic import Critic
from metarl.outer.imitation import (
    ACTION,
    ADAM,
    LATENT,
    Targets,
    imitate,
)
from metarl.outer.learner import (
    Learner,
    LearnerParts,
    Phase,
    Update,
    WithinEpisode,
)
from metarl.outer.meta_gradient import CPU
from metarl.outer.recent_trials import replay_of, with_collection
from metarl.outer.state import Generators, TrainState
from metarl.outer.stretches import (
    collect_stretch,
    critic_of,
    drawn_change,
    empty_trial,
    fresh_trials,
    with_memory,
)
from metarl.outer.trial_ppo import Actor, PpoSettings, paced, ppo_update, prefixed, without_prefix
from metarl.policies.base import Policy
from metarl.policies.belief import Belief
from metarl.policies.mlp import Activation, MlpConfig
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params, expand, layers, learned, to
from metarl.policies.privileged import TASK_FEATURES, PrivilegedPolicy
from metarl.rollouts.collect import Collector
from metarl.rollouts.stepping import TaskChange
from metarl.rollouts.trials import Trial, TrialExperience, collect_trial
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count, Natural, Positive, Range, Share

TEACHER, TEACHER_PPO, STUDENT_PPO = "teacher.", "teacher_ppo.", "student_ppo."
PhaseName = Literal["teacher", "imitation", "reinforcement"]
PHASES: tuple[PhaseName, ...] = ("teacher", "imitation", "reinforcement")


@dataclass(frozen=True)
class TeacherStudent(WithinEpisode):
    """PPO of a teacher, imitation by a student, PPO of the student."""

    teacher_share: Share = 0.5
    """Teacher's share of iterations, in [0, 1]. They are the first ones; 0 with a given one."""
    reinforcement_share: Share = 0.0
    """PPO's share of iterations, in [0, 1]. They are the last ones, and the student's."""
    goes_on: Share = 0.25
    """Probability that a student's trial goes on in the next iteration, in [0, 1]: the lengths of
    trials are random, so that its belief holds beyond `trial_episodes`."""
    changes: Share = 0.0
    """Share of the trials, the teacher's too, whose task changes in an iteration, at a random step,
    in [0, 1]: for robots that break in mid-life."""
    imitate: Targets = "actions"
    """Targets of the student: the teacher's mean actions, its latents, or both."""
    teacher_sizes: tuple[Count, ...] = (64, 64)
    """Units of each hidden layer of the teacher."""
    teacher_activation: Activation = "tanh"
    """Nonlinearity between the teacher's layers."""
    teacher_rate: Positive = 1e-3
    """Adam's step size of the teacher, > 0."""
    teacher_epochs: Count = 5
    """Passes of the teacher's PPO over the data of an iteration, >= 1."""
    teacher_minibatches: Count = 32
    """Adam steps per pass of the teacher's PPO, >= 1."""
    teacher_std: Positive = 1.0
    """Initial standard deviation of the teacher's actions, in half ranges, > 0."""
    student_rate: Positive = 1e-3
    """Adam's step size in imitation, > 0; it falls along half a cosine to a twentieth."""
    passes: Count = 4
    """Passes of imitation per iteration, each over as many trials as a collection holds."""
    minibatches: Count = 4
    """Adam steps per pass of the student, >= 1."""
    collections: Count = 6
    """Collections that imitation draws from, the last ones, >= 1."""
    reinforcement_rate: Positive = 2e-4
    """Adam's step size in the PPO of the student, > 0."""
    reinforcement_epochs: Count = 4
    """Passes of the student's PPO over the data of an iteration, >= 1."""
    critic_first: Natural = 8
    """Iterations of the student's PPO in which its critic alone learns, >= 0."""
    clip: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Bound on |ratio - 1| of likelihood ratios, in (0, 1)."""

    def __post_init__(self) -> None:
        if self.teacher_share + self.reinforcement_share >= 1:
            raise InputError(
                f"teacher_share + reinforcement_share = "
                f"{self.teacher_share + self.reinforcement_share:g}: must be below 1, so that some "
                "iterations imitate the teacher"
            )

    def learner(self, parts: LearnerParts) -> Learner:
        return TeacherStudentLearner(self, parts)

    def phases(self, iterations: int, adaptation_steps: int) -> list[Phase]:
        found = [self.phase(iteration, iterations)[0] for iteration in range(iterations)]
        return [
            Phase(name, found.count(name), 1 if name == "teacher" else self.trial_episodes)
            for name in PHASES
            if name in found
        ]

    def collections_held(self, adaptation_steps: int) -> int:
        return (self.collections + 1) * self.trial_episodes

    def phase(self, iteration: int, iterations: int) -> tuple[PhaseName, int, int]:
        """The phase of an iteration, the iterations of the phase before it, and their number."""
        teacher = round(self.teacher_share * iterations)
        last = round((1 - self.reinforcement_share) * iterations)
        if iteration < teacher:
            return "teacher", iteration, teacher
        if iteration < last:
            return "imitation", iteration - teacher, last - teacher
        return "reinforcement", iteration - last, iterations - last


class TeacherStudentLearner(Learner[TrialExperience]):
    """Trains the teacher, then the student; `TrainState.params` are always the student's."""

    def __init__(self, settings: TeacherStudent, parts: LearnerParts) -> None:
        self._settings, self._parts = settings, parts
        student = with_memory(parts.policy)
        if settings.imitate != "actions" and not student.config.latent_size:
            raise InputError(
                f"imitate = '{settings.imitate}' with policy.latent_size = 0: the teacher has no "
                "latent; use --policy.latent-size 8, or --outer.imitate actions"
            )
        features = parts.family.task_features(parts.family.nominal_tasks()).shape[1]
        config = MlpConfig(
            hidden_sizes=student.config.hidden_sizes
            if student.config.latent_size
            else settings.teacher_sizes,
            activation=student.config.activation
            if student.config.latent_size
            else settings.teacher_activation,
            action_scale=student.config.action_scale,
            init_std=settings.teacher_std,
            normalize_observations=student.config.normalize_observations,
        )
        self._teacher = PrivilegedPolicy(
            config,
            student.observation_size,
            student.action_low,
            student.action_high,
            action_middle=student.action_middle,
            num_features=features,
            latent_size=student.config.latent_size,
        )
        teacher_critic = Critic(student.observation_size, features=features)
        self._teacher_actor = Actor(self._teacher, teacher_critic)
        self._student, self._actor = student, Actor(student, critic_of(parts, "task"))
        self._teacher_acts: Collector | None = None

    @property
    def policy(self) -> Policy:
        return self._student

    @property
    def teacher(self) -> PrivilegedPolicy:
        """The policy that observes the task; its parameters are in the state."""
        return self._teacher

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = self._student.init(generators.init)
        teacher = self._teacher.init(generators.init)
        own = prefixed(TEACHER, teacher)
        own |= prefixed(TEACHER_PPO, self._teacher_actor.init_training(teacher, generators.init))
        own |= prefixed(STUDENT_PPO, self._actor.init_training(params, generators.init))
        own |= prefixed(ADAM, init_adam(learned(params)))
        trial = empty_trial(self._parts, params, self._settings.trial_episodes)
        own |= replay_of(trial, self._targets(own, trial), self._settings.collections)
        return TrainState(params, generators, own | fresh_trials(self._parts, params))

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        phase, _, _ = self._phase(state)
        if phase != "teacher":
            length, changes = self._settings.trial_episodes, self._settings.changes
            return collect_stretch(collector, self._parts, state, tasks, length, changes)
        rng, (M, E), length = state.generators, self._parts.worlds, self._parts.horizon
        change = drawn_change(self._parts, state, tasks, length, self._settings.changes)
        return collect_trial(
            self._collector_of_teacher(collector),
            without_prefix(TEACHER, state.optimizer),
            tasks,
            self._features,
            1,
            rng.resets,
            rng.actions,
            self._task_belief(tasks, (M, E)),
            change and (change[0], TaskChange(change[1], self._task_belief(change[1], (1, M * E)))),
        )

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        phase, index, length = self._phase(state)
        progress, device = index / length, self._parts.device
        params, own = to(state.params, device), to(state.optimizer, device)
        trial = experience.trial.to(device)
        if phase == "teacher":
            own, metrics = self._teach(own, trial, state, progress)
            if index == length - 1:
                params = self.taught(params, own)
        elif phase == "imitation":
            if index == 0:  # again: the teacher's last step may have been refused
                params = self.taught(params, own)
            own = with_collection(own, trial, self._targets(own, trial))
            params, own, metrics = imitate(
                self._student,
                params,
                own,
                targets=self._settings.imitate,
                passes=self._settings.passes,
                minibatches=self._settings.minibatches,
                learning_rate=self._settings.student_rate * paced(progress, 0.05),
                max_grad_norm=1.0,
                generator=state.generators.order,
            )
        else:
            params, own, metrics = self._reinforce(params, own, trial, state, index, progress)
        own = to(own, CPU)
        if phase != "teacher":
            order, probability = state.generators.order, self._settings.goes_on
            own |= trials_after(experience.tasks, experience.belief, probability, order)
        metrics["train/phase"] = float(PHASES.index(phase))
        return Update(to(params, CPU), own, metrics)

    def given_teacher(self, state: TrainState, teacher: Params) -> TrainState:
        """The state with a trained teacher's parameters, by the names of `self.teacher`'s."""
        own = dict(state.optimizer)
        own |= {TEACHER + name: teacher[name].clone() for name in without_prefix(TEACHER, own)}
        return replace(state, params=self.taught(state.params, own), optimizer=own)

    def taught(self, params: Params, own: Params) -> Params:
        """The student's parameters with the teacher's normaliser and, with a latent, its head.

        A student that has a normaliser already, such as one from `--start`, keeps it, unless its
        head becomes the teacher's, which reads the teacher's.
        """
        teacher, O = without_prefix(TEACHER, own), self._student.observation_size
        known, params = self._teacher.statistics(teacher), dict(params)
        latent = self._student.config.latent_size > 0
        own_known = self._student.statistics(params)
        if known and (latent or (own_known and not own_known.samples.any())):
            mean, variance, samples = known
            params |= Statistics(mean[:O].clone(), variance[:O].clone(), samples.clone()).entries()
        if latent:
            params |= {name: value.clone() for name, value in layers(teacher).items()}
        return params

    def _teach(
        self, own: Params, trial: Trial, state: TrainState, progress: float
    ) -> tuple[Params, dict[str, float]]:
        """A step of the teacher's PPO."""
        settings = self._settings
        teacher, training, metrics = ppo_update(
            self._teacher_actor,
            without_prefix(TEACHER, own),
            without_prefix(TEACHER_PPO, own),
            trial,
            PpoSettings(
                learning_rate=settings.teacher_rate,
                epochs=settings.teacher_epochs,
                minibatches=settings.teacher_minibatches,
                clip=settings.clip,
            ),
            state.generators.order,
            discount=self._parts.inner.discount,
            gae_lambda=self._parts.inner.gae_lambda,
            pace=paced(progress, 0.1),
        )
        observed = torch.cat([trial.observations, trial.features], dim=-1)
        teacher = self._teacher.update_statistics(teacher, observed, trial.valid)
        return own | prefixed(TEACHER, teacher) | prefixed(TEACHER_PPO, training), metrics

    def _reinforce(
        self,
        params: Params,
        own: Params,
        trial: Trial,
        state: TrainState,
        index: int,
        progress: float,
    ) -> tuple[Params, Params, dict[str, float]]:
        """A step of the student's PPO."""
        settings = self._settings
        params, training, metrics = ppo_update(
            self._actor,
            params,
            without_prefix(STUDENT_PPO, own),
            trial,
            PpoSettings(
                learning_rate=settings.reinforcement_rate,
                epochs=settings.reinforcement_epochs,
                minibatches=settings.minibatches,
                clip=settings.clip,
            ),
            state.generators.order,
            discount=self._parts.inner.discount,
            gae_lambda=self._parts.inner.gae_lambda,
            pace=paced(progress, 0.1),
            policy_moves=index >= settings.critic_first,
        )
        return params, own | prefixed(STUDENT_PPO, training), metrics

    @torch.no_grad()
    def _targets(self, own: Params, trial: Trial) -> Params:
        """The teacher's mean actions (1, N, L, A) and latents (1, N, L, Z) in trials."""
        teacher, steps = expand(without_prefix(TEACHER, own), 1), trial.valid.shape[1:]
        features = trial.features.flatten(1, 2)
        actions = self._teacher.mean(teacher, trial.observations.flatten(1, 2), features)
        targets = {ACTION: self._teacher.sent(actions).unflatten(1, steps)}
        if self._student.config.latent_size:
            targets[LATENT] = self._teacher.latent(teacher, features).unflatten(1, steps)
        return targets

    def _collector_of_teacher(self, collector: Collector) -> Collector:
        """One per environment: on a GPU its first collection captures a time step."""
        if self._teacher_acts is None or self._teacher_acts.env is not collector.env:
            self._teacher_acts = Collector(collector.env, self._teacher)
        return self._teacher_acts

    def _phase(self, state: TrainState) -> tuple[PhaseName, int, int]:
        return self._settings.phase(state.iteration, self._parts.iterations)

    def _task_belief(self, tasks: Tasks, worlds: tuple[int, int]) -> Belief:
        """The teacher's belief: the features of the true task in every world."""
        features = self._features(tasks).float()
        times = worlds[0] * worlds[1] // len(tasks)
        return {TASK_FEATURES: features.repeat_interleave(times, dim=0).reshape(*worlds, -1)}

    def _features(self, tasks: Tasks) -> Tensor:
        return self._parts.family.task_features(tasks)
