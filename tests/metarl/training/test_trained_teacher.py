"""The teacher of a run as a policy of its own: an oracle, and told nothing a robust policy."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import metarl
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of
from metarl.outer.trial_ppo import without_prefix
from metarl.policies.privileged import TASK_FEATURES
from metarl.runs.checkpoint import create_run, load_policy, save_policy
from metarl.training.given_teacher import with_teacher
from metarl.training.trained_teacher import teacher_of
from metarl.training.trainer import initial_state, train
from metarl_envs import FAMILIES, InputError, TaskFamily

SIZES = {
    "iterations": 6,
    "meta_batch_size": 6,
    "horizon": 5,
    "sim_threads": 1,
    "device": "cpu",
    "evaluate_every": 0,
    "policy.memory_size": 4,
    "policy.normalize_observations": True,
    "outer.teacher_share": 0.5,
    "outer.teacher_sizes": [6, 5],
}
FAMILY = "half-cheetah-velocity"


class Silent(TaskFamily):
    """A family that says nothing of its tasks."""

    def task_features(self, tasks):
        return super().task_features(tasks)[:, :0]


def trained(folder, method="teacher-student", family=FAMILY, **changes):
    given = SIZES if method == "teacher-student" else {}
    config = with_settings(recipe(family, method), given | changes)
    create_run(folder, config, ["metarl", "train"])
    return config, train(config, initial_state(config), folder, quiet=True)


def test_an_oracle_takes_the_teachers_actions_and_teaches_again(tmp_path):
    config, state = trained(tmp_path / "run")
    saved = teacher_of(tmp_path / "run")
    assert saved.config.method == "oracle" and saved.config.observe_task
    assert saved.metadata == {"iteration": 3, "env_steps": 3 * 6 * 5}
    family, stream = family_of(config), torch.Generator().manual_seed(1)
    features = family.task_features(family.sample_tasks(9, stream, "test")).float()
    observations = torch.randn(9, family.observation_size, generator=stream)
    teacher, params = learner_of(config).teacher, without_prefix("teacher.", state.optimizer)
    expected, _ = teacher.act(params, {TASK_FEATURES: features}, observations)
    folder = save_policy(tmp_path / "oracle", saved)
    read = load_policy(folder)
    found = read.policy.mean(read.params, torch.cat([observations, features], dim=1))
    torch.testing.assert_close(found, expected.mean, rtol=0, atol=0)
    again = load_policy(metarl.Run(tmp_path / "run", 0).teacher.save(tmp_path / "again"))
    assert (again.config, again.metadata) == (read.config, read.metadata)
    _, again = with_teacher(folder, config, None)
    weights = without_prefix("teacher.", again.optimizer)
    assert all(torch.equal(weights[name], value) for name, value in params.items())


def test_a_teacher_that_is_told_nothing_is_a_robust_policy(tmp_path, monkeypatch):
    shipped = FAMILIES[FAMILY]
    fields = {f.name: getattr(shipped, f.name) for f in dataclasses.fields(shipped)}
    monkeypatch.setitem(FAMILIES, FAMILY, Silent(**fields))
    trained(tmp_path / "run")
    saved = teacher_of(tmp_path / "run")
    assert saved.config.method == "robust" and not saved.config.observe_task
    assert saved.params["weight_0"].shape == (shipped.observation_size, 6)


def test_a_run_stopped_within_the_teachers_phase_counts_its_steps(tmp_path):
    trained(tmp_path / "run", iterations=2, **{"outer.teacher_share": 0.9})
    assert teacher_of(tmp_path / "run").metadata == {"iteration": 2, "env_steps": 2 * 6 * 5}


def test_runs_without_such_a_teacher_are_refused(tmp_path):
    trained(tmp_path / "reptile", "reptile", iterations=1, horizon=5, evaluate_every=0)
    with pytest.raises(InputError, match="a run of reptile has no teacher"):
        teacher_of(tmp_path / "reptile")
    trained(tmp_path / "latent", iterations=2, **{"policy.latent_size": 2})
    with pytest.raises(InputError, match=r"policy\.latent_size = 2 numbers, and no policy"):
        teacher_of(tmp_path / "latent")
