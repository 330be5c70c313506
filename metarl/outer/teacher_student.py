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

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from metarl.adaptation.adam import init_adam
from metarl.outer.continued import settings_above_zero, trials_after
from metarl.outer.imitation import (
    ADAM,
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
    empty_trial,
    fresh_trials,
    with_memory,
)
from metarl.outer.teacher import TEACHER, Teacher
from metarl.outer.trial_ppo import (
    Actor,
    PpoSettings,
    largest_std,
    paced,
    ppo_update,
    prefixed,
    without_prefix,
)
from metarl.policies.base import Policy
from metarl.policies.mlp import Activation
from metarl.policies.params import Params, learned, to
from metarl.policies.privileged import PrivilegedPolicy
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import TrialExperience
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count, Natural, NotNegative, Positive, Range, Share

STUDENT_PPO = "student_ppo."
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
    mode_width: NotNegative = 0.0
    """Width of the imitated action, in half ranges, >= 0. The student learns the likeliest of the
    teacher's actions, blurred by so much, in place of their mean, which is what 0 stands for."""
    imitate: Targets = "actions"
    """Targets of the student: the teacher's mean actions, its latents, or both."""
    estimates_task: bool = False
    """The student's latent is its estimate of each of the task's own features, standardised, which
    the teacher reads (Yu et al. 2017, arXiv:1702.02453); off: of an encoding that the teacher
    learns."""
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
    teacher_final_std: NotNegative = 0.0
    """Largest standard deviation of the teacher's actions at the end of its iterations, in half
    ranges, >= 0; until then the bound falls geometrically from the initial one. The student learns
    the mean action, which need not do what a noisy one does. 0: no bound."""
    teacher_output: Positive = 1.0
    """Factor on the initial weights of the teacher's last layer, > 0. With 0.01 it begins at the
    middle of the actions, where a robot held by servos stands (Andrychowicz et al. 2021)."""
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
    reinforcement_std: Positive = 0.05
    """Largest standard deviation of the student's actions at the end of its PPO, in half ranges,
    > 0; until then the bound falls geometrically from the initial one. The mean action is what is
    deployed, and a student that finds out by its noise is lost without it."""
    critic_first: Natural = 8
    """Iterations of the student's PPO in which its critic alone learns, >= 0."""
    clip: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Bound on |ratio - 1| of likelihood ratios, in (0, 1)."""

    def __post_init__(self) -> None:
        if self.teacher_share + self.reinforcement_share >= 1:
            raise InputError(
                f"teacher_share + reinforcement_share = "
                f"{self.teacher_share + self.reinforcement_share:g}: must be below 1, so that some "
                "iterations imitate the teacher; lower one (with --teacher, teacher_share = 0)"
            )

    @property
    def runs_other_tasks(self) -> str:
        return settings_above_zero(goes_on=self.goes_on, changes=self.changes)

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

    @property
    def ppo_of_teacher(self) -> PpoSettings:
        """Settings of the first phase."""
        return PpoSettings(
            learning_rate=self.teacher_rate,
            epochs=self.teacher_epochs,
            minibatches=self.teacher_minibatches,
            clip=self.clip,
        )

    @property
    def ppo_of_student(self) -> PpoSettings:
        """Settings of the last phase."""
        return PpoSettings(
            learning_rate=self.reinforcement_rate,
            epochs=self.reinforcement_epochs,
            minibatches=self.minibatches,
            clip=self.clip,
        )

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
        self._teacher = Teacher(
            parts,
            settings.teacher_sizes,
            settings.teacher_activation,
            settings.teacher_std,
            settings.teacher_output,
            settings.estimates_task,
        )
        self._student, self._actor = student, Actor(student, critic_of(parts, "task"))

    @property
    def policy(self) -> Policy:
        return self._student

    @property
    def teacher(self) -> PrivilegedPolicy:
        """The policy that observes the task; its parameters are in the state."""
        return self._teacher.policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = self._student.init(generators.init)
        own = self._teacher.init(generators.init)
        own |= prefixed(STUDENT_PPO, self._actor.init_training(params, generators.init))
        own |= prefixed(ADAM, init_adam(learned(params)))
        trial = empty_trial(self._parts, params, self._settings.trial_episodes)
        own |= replay_of(trial, self._teacher.targets(own, trial), self._settings.collections)
        return TrainState(params, generators, own | fresh_trials(self._parts, params))

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        phase, _, _ = self._phase(state)
        if phase == "teacher":
            return self._teacher.collect(collector, state, tasks, self._settings.changes)
        length, changes = self._settings.trial_episodes, self._settings.changes
        return collect_stretch(collector, self._parts, state, tasks, length, changes)

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        settings, order = self._settings, state.generators.order
        phase, index, length = self._phase(state)
        progress, device = index / length, self._parts.device
        params, own = to(state.params, device), to(state.optimizer, device)
        trial = experience.trial.to(device)
        if phase == "teacher":
            ppo = settings.ppo_of_teacher
            own, metrics = self._teacher.learn(own, trial, ppo, order, paced(progress, 0.1))
            if settings.teacher_final_std:
                own = self._teacher.quieter(own, settings.teacher_final_std, progress)
            if index == length - 1:
                params = self._teacher.taught(params, own)
        elif phase == "imitation":
            if index == 0:  # again: the teacher's last step may have been refused
                params = self._teacher.taught(params, own)
            own = with_collection(own, trial, self._teacher.targets(own, trial))
            params, own, metrics = imitate(
                self._student,
                params,
                own,
                targets=settings.imitate,
                width=narrowed(settings.mode_width, progress),
                passes=settings.passes,
                minibatches=settings.minibatches,
                learning_rate=settings.student_rate * paced(progress, 0.05),
                max_grad_norm=1.0,
                generator=order,
            )
        else:
            params, training, metrics = ppo_update(
                self._actor,
                params,
                without_prefix(STUDENT_PPO, own),
                trial,
                settings.ppo_of_student,
                order,
                discount=self._parts.inner.discount,
                gae_lambda=self._parts.inner.gae_lambda,
                pace=paced(progress, 0.1),
                policy_moves=index >= settings.critic_first,
            )
            loudest = largest_std(self._student, settings.reinforcement_std, progress)
            params = self._student.quieter(params, loudest)
            own |= prefixed(STUDENT_PPO, training)
        own = to(own, CPU)
        if phase != "teacher":
            own |= trials_after(experience.tasks, experience.belief, settings.goes_on, order)
        metrics["train/phase"] = float(PHASES.index(phase))
        return Update(to(params, CPU), own, metrics)

    def given_teacher(self, state: TrainState, teacher: Params) -> TrainState:
        """The state with a trained teacher's parameters, by the names of `self.teacher`'s."""
        own = dict(state.optimizer)
        own |= {TEACHER + name: teacher[name].clone() for name in without_prefix(TEACHER, own)}
        return replace(state, params=self._teacher.taught(state.params, own), optimizer=own)

    def _phase(self, state: TrainState) -> tuple[PhaseName, int, int]:
        return self._settings.phase(state.iteration, self._parts.iterations)


def narrowed(width: float, progress: float) -> float:
    """Width of imitated actions: from wide to the given one over the first half of imitation.

    A wide one is near the mean: the student first learns roughly what to do, then chooses.
    """
    return width * 8 ** max(0.0, 1 - 2 * progress) if width else math.inf
