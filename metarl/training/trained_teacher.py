"""The teacher of a teacher-student run as a policy of its own, to be measured and filmed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from metarl.adaptation.none import Unadapted
from metarl.methods.setup import learner_of, policy_of
from metarl.outer.ppo import Ppo
from metarl.outer.teacher import TEACHER
from metarl.outer.teacher_student import TeacherStudent, TeacherStudentLearner
from metarl.outer.trial_ppo import without_prefix
from metarl.runs.checkpoint import load_checkpoint
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError


def teacher_of(run: Path) -> SavedPolicy:
    """The teacher of a run: an oracle, or a robust policy if its family tells it nothing.

    Raises:
        InputError: for another method, or a teacher that reads the task through a latent.
        RunError: if there is no checkpoint that can be read.
    """
    config, state = load_checkpoint(run)
    learner, outer = learner_of(config), config.outer
    if not isinstance(outer, TeacherStudent) or not isinstance(learner, TeacherStudentLearner):
        raise InputError(
            f"{run}: a run of {config.method} has no teacher; it must be of teacher-student"
        )
    teacher, ppo = learner.teacher, outer.ppo_of_teacher
    if teacher.latent_size:
        raise InputError(
            f"{run}: its teacher reads the task through policy.latent_size = {teacher.latent_size} "
            "numbers, and no policy of its own does; train with --policy.latent-size 0"
        )
    told = teacher.num_features > 0
    trained = min(state.iteration, round(outer.teacher_share * config.iterations))
    config = dataclasses.replace(
        config,
        method="oracle" if told else "robust",
        observe_task=told,
        iterations=max(1, trained),
        policy=teacher.config,
        inner=Unadapted(),
        outer=Ppo(
            learning_rate=ppo.learning_rate,
            epochs=ppo.epochs,
            minibatches=ppo.minibatches,
            clip=ppo.clip,
        ),
    )
    steps = trained * config.meta_batch_size * config.episodes_per_task * config.horizon
    metadata = {"iteration": trained, "env_steps": steps}
    params = without_prefix(TEACHER, state.optimizer)
    return SavedPolicy(policy_of(config), params, config, metadata)
