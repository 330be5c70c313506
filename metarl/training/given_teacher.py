"""A teacher that a teacher-student run is given, instead of training it: `--teacher RUN`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from metarl.adaptation.none import Unadapted
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.settings import flag
from metarl.methods.setup import learner_of
from metarl.outer.state import TrainState
from metarl.outer.teacher_student import TeacherStudent, TeacherStudentLearner
from metarl.policies.memory import MemoryConfig
from metarl.policies.mlp import MlpConfig
from metarl.runs.checkpoint import load_policy
from metarl.runs.policy_folder import SavedPolicy
from metarl.training.warm_start import check_spaces
from metarl_envs import InputError

OF_TEACHER = "outer.teacher_"
"""Beginning of the names of the teacher's settings."""
SHARE = OF_TEACHER + "share"
NORMALIZE = "policy.normalize_observations"


def check_has_teacher(config: TrainConfig) -> None:
    """Refuse a student without a teacher.

    Raises:
        InputError: if none is trained in the run.
    """
    if isinstance(config.outer, TeacherStudent) and config.outer.teacher_share == 0:
        raise InputError(
            "outer.teacher_share = 0: the run trains no teacher; give one with --teacher RUN, or a "
            "share such as 0.5"
        )


def with_teacher(
    folder: Path, config: TrainConfig, begun: TrainState | None, given: Collection[str] = ()
) -> tuple[TrainConfig, TrainState]:
    """The training of a student alone, by the teacher in a folder.

    The student has the iterations that the recipe leaves it, and standardises observations as the
    teacher does, unless these were chosen. The teacher's outputs are rescaled to the student's
    units; no action changes by that.

    Args:
        folder: a run or policy folder of a policy that observes the task.
        config: of the training.
        begun: a student to go on with; None: a fresh one.
        given: names of the settings that the user chose.

    Raises:
        InputError: for another method, a policy that cannot teach on this family, or settings
            that do not fit it.
        RunError: if there is no valid policy.
    """
    where, outer = f"--teacher {folder}", config.outer
    if not isinstance(outer, TeacherStudent):
        raise InputError(
            f"{where}: for the method teacher-student, not for {config.method}; add --method "
            "teacher-student"
        )
    for name in given:
        if name.startswith(OF_TEACHER) and not (name == SHARE and outer.teacher_share == 0):
            raise InputError(
                f"{flag(name)}: the teacher is that of {where}; leave it out, or give "
                f"{flag(SHARE)} 0, so that all iterations are the student's"
            )
    saved = load_policy(folder)
    if begun is None and NORMALIZE not in given:
        config = with_settings(config, {NORMALIZE: saved.config.policy.normalize_observations})
    network = _network(where, saved, config)
    chosen = {
        "teacher_share": 0.0,
        "teacher_sizes": network.hidden_sizes,
        "teacher_activation": network.activation,
        "reinforcement_share": outer.reinforcement_share / (1 - outer.teacher_share),
    }
    settings = {f"outer.{name}": value for name, value in chosen.items()}
    settings["iterations"] = max(1, round((1 - outer.teacher_share) * config.iterations))
    kept = {name: value for name, value in settings.items() if name not in given}
    config = with_settings(config, kept)
    learner = learner_of(config)
    assert isinstance(learner, TeacherStudentLearner)
    state = learner.init(config.seed)
    if begun is not None:
        state = dataclasses.replace(state, params=begun.params)
    scale = config.policy.action_scale / saved.config.policy.action_scale
    weights = saved.policy.rescaled(saved.policy.folded(saved.params), scale)
    return config, learner.given_teacher(state, weights)


def _network(where: str, saved: SavedPolicy, config: TrainConfig) -> MlpConfig:
    """The network of a policy that can teach."""
    source, network, student = saved.config, saved.config.policy, config.policy
    if source.family != config.family:
        raise InputError(
            f"{where}: a policy of {source.family}; a teacher of {config.family} is needed: metarl "
            f"baseline oracle {config.family}"
        )
    if not source.observe_task:
        raise InputError(
            f"{where}: does not observe the task, so it knows no more than the student; train one "
            f"that does: metarl baseline oracle {config.family}"
        )
    if not isinstance(network, MlpConfig) or not isinstance(source.inner, Unadapted):
        raise InputError(
            f"{where}: a teacher is a feed-forward policy without adaptation, such as that of "
            f"metarl baseline oracle {config.family}; this one is of {source.method}"
        )
    check_spaces(saved, dataclasses.replace(config, observe_task=True), where)
    if student.normalize_observations != network.normalize_observations:
        verb = "standardises" if network.normalize_observations else "does not standardise"
        raise InputError(
            f"{where}: {verb} its observations, and the student must do as it does: "
            f"{flag(NORMALIZE)} {network.normalize_observations}"
        )
    if isinstance(student, MemoryConfig) and student.latent_size:
        _check_head(where, network, student, config.outer)
    return network


def _check_head(where: str, teacher: MlpConfig, student: MemoryConfig, outer: object) -> None:
    """Refuse a student with a latent whose network after it cannot be the teacher's."""
    assert isinstance(outer, TeacherStudent)
    if not outer.estimates_task:
        raise InputError(
            f"{where}: reads the task itself and has no latent for policy.latent_size = "
            f"{student.latent_size}; use --policy.latent-size 0, or --outer.estimates-task "
            "True for a student that estimates the task"
        )
    theirs = (teacher.hidden_sizes, teacher.activation)
    if theirs != (student.hidden_sizes, student.activation):
        sizes = " ".join(map(str, teacher.hidden_sizes))
        raise InputError(
            f"{where}: a network of {sizes} {teacher.activation} units, which becomes the "
            f"student's, of other ones; use --policy.hidden-sizes {sizes} --policy.activation "
            f"{teacher.activation}"
        )
