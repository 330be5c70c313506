"""Training of baselines: reproducible, logged, saved as runs of the usual form."""

from __future__ import annotations

import dataclasses
import signal

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from metarl.errors import FaultError, Interrupted
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import evaluate
from metarl.methods.baselines import BASELINES, baseline_recipe, iterations
from metarl.methods.config import TrainConfig, from_json, to_json, with_settings
from metarl.methods.setup import family_of
from metarl.runs.checkpoint import checkpoints, create_run, load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.sb3.training import PpoLearner, train_baseline
from metarl_envs import InputError


def tiny(name: str = "robust", family: str = "navigation", **changes: object) -> TrainConfig:
    given = {
        "iterations": 2,
        "meta_batch_size": 3,
        "horizon": 8,
        "sim_threads": 1,
        "policy.hidden_sizes": [5],
        "outer.minibatches": 2,
    }
    return with_settings(baseline_recipe(family, name), given | changes)


def trained(folder, config, **options):
    create_run(folder, config, ["metarl", "baseline"])
    train_baseline(config, folder, quiet=True, **options)
    return folder


@pytest.mark.parametrize("name", ["robust", "frame-stack", "finetuned", "oracle"])
def test_a_trained_baseline_is_a_run_that_can_be_evaluated(tmp_path, name):
    run = trained(tmp_path / "run", tiny(name))
    saved = load_policy(run)
    assert saved.config == tiny(name)
    assert saved.metadata["iteration"] == 2
    assert saved.metadata["env_steps"] == 2 * 3 * 8
    assert BASELINES[name].title in (checkpoints(run)[0] / "README.md").read_text()
    evaluation = evaluate(saved, splits=["test"], num_tasks=2, steps=1, episodes_per_step=2)
    (result,) = evaluation.splits
    assert evaluation.adapts == (name in ("finetuned", "frame-stack"))
    assert ("does not adapt" in curve_table(evaluation)) != evaluation.adapts
    assert result.returns.shape == (2, 2)
    assert saved.policy.observation_size == (4 if name == "oracle" else 2)


def test_the_step_size_falls_along_half_a_cosine(tmp_path):
    given = {"iterations": 4, "outer.learning_rate": 0.01, "outer.final_rate": 0.1}
    learner = PpoLearner(tiny(**given), None)
    rates = []
    for _ in range(4):
        learner.iterate()
        rates.append(learner._model.policy.optimizer.param_groups[0]["lr"])
    cosine = [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    assert rates == pytest.approx([0.01 * (0.1 + 0.9 * share) for share in cosine])


def test_what_is_logged(tmp_path):
    run = trained(tmp_path / "run", tiny())
    first, second = read_metrics(run)
    assert (first["iteration"], first["rollout/env_steps"]) == (1, 24)
    assert (second["iteration"], second["rollout/env_steps"]) == (2, 48)
    assert second["rollout/return_pre"] == second["rollout/return_post"] < 0
    assert second["rollout/episodes"] == 6
    assert second["health/fault_share"] == 0
    assert first["train/approx_kl"] != second["train/approx_kl"]
    assert any((run / "tensorboard").iterdir())


def test_same_seed_gives_the_same_policy_and_leaves_the_global_generators_alone(tmp_path):
    before, keys = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (
        load_policy(trained(tmp_path / str(i), tiny(seed=seed))).params
        for i, seed in enumerate((1, 1, 2))
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(keys, np.random.get_state()[1])  # noqa: NPY002
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["weight_0"], other["weight_0"])


def test_a_policy_of_one_task_notes_it(tmp_path):
    config = tiny("scratch")
    task = family_of(config).make_task({"goal": (0.3, -0.2)})
    saved = load_policy(trained(tmp_path / "run", config, task=task))
    assert saved.metadata["task"] == {"goal": [0.3, -0.2]}


def test_an_oracle_learns_to_use_what_it_is_told(tmp_path):
    config = tiny("oracle", iterations=12, meta_batch_size=32, horizon=20)
    config = dataclasses.replace(
        config, outer=dataclasses.replace(config.outer, learning_rate=3e-3, minibatches=8)
    )
    lines = read_metrics(trained(tmp_path / "run", config))
    assert lines[-1]["rollout/return_pre"] > 0.6 * lines[0]["rollout/return_pre"]


def test_a_stop_signal_saves_and_says_so(tmp_path, monkeypatch):
    from metarl.sb3 import training

    iterate = training.PpoLearner.iterate

    def stop_in_the_first(self):
        if self.iteration == 0:
            signal.raise_signal(signal.SIGTERM)
        return iterate(self)

    monkeypatch.setattr(training.PpoLearner, "iterate", stop_in_the_first)
    with pytest.raises(Interrupted, match="SIGTERM: stopped after saving"):
        trained(tmp_path / "run", tiny(iterations=9))
    assert load_policy(tmp_path / "run").metadata["iteration"] == 1


def test_too_many_diverged_episodes_stop_it(tmp_path, monkeypatch):
    from metarl.sb3 import training

    step = training.TaskVecEnv.step_wait

    def diverging(self):
        self._env.engine.data["qpos"][0] = torch.nan
        return step(self)

    monkeypatch.setattr(training.TaskVecEnv, "step_wait", diverging)
    with pytest.raises(FaultError, match="diverged"):
        trained(tmp_path / "run", tiny(iterations=9))
    assert load_policy(tmp_path / "run").metadata["iteration"] == 1


def test_more_minibatches_than_samples_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 worlds x 8 steps can make at most 12"):
        trained(tmp_path / "run", tiny(**{"outer.minibatches": 13}))


@pytest.mark.parametrize("name", BASELINES)
def test_every_recipe_survives_json_and_pays_for_the_steps_asked_for(name):
    config = baseline_recipe("hopper-dynamics", name, env_steps=100_000)
    assert from_json(to_json(config)) == config
    per_iteration = config.meta_batch_size * config.horizon
    assert 100_000 <= config.iterations * per_iteration < 100_000 + per_iteration
    assert iterations(config, 1) == 1


def test_unknown_baseline_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="robust"):
        baseline_recipe("navigation", "robst")
