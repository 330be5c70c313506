"""Evaluation during training: the same tasks each time, no bit of training changed."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.signs import SignWorlds, sign_policy
from support.tiny_runs import TINY

from metarl.adaptation.inner_loop import InnerLoop
from metarl.cli import main
from metarl.evaluation.streams import evaluation_generators
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.methods.setup import family_of, policy_of
from metarl.outer.state import Generators
from metarl.policies.params import head
from metarl.policies.planning import PlanningConfig
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import create_run, load_checkpoint, load_policy, save_best
from metarl.runs.metrics_log import read_metrics
from metarl.training import trainer, validation
from metarl.training.validation import Validation
from metarl_envs import BatchEnv

EVALUATED = dataclasses.replace(TINY, iterations=4, evaluate_every=2, evaluation_tasks=3)


def trained(folder, config=EVALUATED):
    create_run(folder, config, ["test"])
    trainer.train(config, trainer.initial_state(config), folder, quiet=True)
    return folder


def resumed(folder, config=EVALUATED):
    _, state = load_checkpoint(folder)
    trainer.train(config, state, folder, quiet=True)
    return folder


def lines(run):
    return read_metrics(run)


def untimed(run):
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines(run)]


def validation_of(run, config=EVALUATED, state=None):
    policy = policy_of(config)
    return Validation(run, config, policy, state or trainer.initial_state(config))


def scripted(monkeypatch, *returns):
    """Evaluations that find these returns after adaptation, one after the other."""
    values = iter(returns)

    def measure(self, params):
        found = {"eval/return_post": next(values), "eval/return_other": 0.0}
        return found | {"eval/standard_error": 0.1}

    monkeypatch.setattr(Validation, "measure", measure)


# ---- training does not depend on it --------------------------------------------------------------


@pytest.mark.parametrize(("every", "tasks"), [(1, 3), (2, 5)])
def test_training_is_the_same_bit_by_bit_with_and_without(tmp_path, every, tasks):
    off = trained(tmp_path / "off", dataclasses.replace(EVALUATED, evaluate_every=0))
    changed = {"evaluate_every": every, "evaluation_tasks": tasks}
    on = trained(tmp_path / "on", dataclasses.replace(EVALUATED, **changed))
    for name in ("model.safetensors", "training.safetensors"):
        files = [run / "checkpoints" / "000004" / name for run in (off, on)]
        assert files[0].read_bytes() == files[1].read_bytes()
    own = [
        {k: v for k, v in line.items() if not k.startswith("eval/") and k != "health/worse"}
        for line in untimed(on)
    ]
    assert own == untimed(off)
    assert not (off / "best").exists()


def test_only_iterations_that_are_due_have_its_values(tmp_path):
    found = lines(trained(tmp_path / "run"))
    assert [line["iteration"] for line in found if "eval/return_post" in line] == [2, 4]
    for line in found:
        assert ("eval/gain_over_other" in line) == (line["iteration"] in (2, 4))
        assert ("health/worse" in line) == (line["iteration"] in (2, 4))


def test_a_resumed_run_finds_the_same_and_keeps_the_same_best(tmp_path):
    whole = trained(tmp_path / "whole", dataclasses.replace(EVALUATED, iterations=7))
    parts = trained(tmp_path / "parts", dataclasses.replace(EVALUATED, iterations=3))
    resumed(parts, dataclasses.replace(EVALUATED, iterations=7))
    assert untimed(parts) == untimed(whole)
    first, second = (load_policy(run / "best") for run in (whole, parts))
    for name in ("iteration", "chosen", "eval_return_post", "sha256"):
        assert first.metadata[name] == second.metadata[name]


# ---- what is measured ----------------------------------------------------------------------------


def test_every_evaluation_meets_the_same_tasks_starts_and_noise(tmp_path):
    run = trained(tmp_path / "run")
    _, later = load_checkpoint(run)

    def measured(found):
        return {k: v for k, v in found.measure(later.params).items() if k != "time/eval_s"}

    once = validation_of(tmp_path)
    first = measured(once)
    assert measured(once) == first
    assert measured(validation_of(tmp_path, state=later)) == first
    other = dataclasses.replace(EVALUATED, seed=1)
    assert measured(validation_of(tmp_path, other, trainer.initial_state(other))) != first


def test_the_control_acts_by_another_tasks_parameters_and_all_without_noise(tmp_path, monkeypatch):
    """Adapted policies that walk towards their task's goal, in exploration noise of 1."""
    found = validation_of(tmp_path)
    goals = found._tasks.values["goal"].float()
    policy = found._policy

    def towards_the_goals(policy, config, start, *_, **__):
        still = {name: torch.zeros_like(value) for name, value in start.items()}
        adapted = still | {head(start)[1]: goals}
        return InnerLoop([], [], [still, adapted], torch.zeros(3, dtype=torch.bool), 0.0)

    monkeypatch.setattr(validation, "run_inner_loop", towards_the_goals)
    params = {name: torch.zeros_like(v) for name, v in policy.init(torch.Generator()).items()}
    measured = found.measure(params)

    env = BatchEnv(family_of(EVALUATED), 3, 1, horizon=EVALUATED.horizon)
    env.set_tasks(found._tasks)

    def mean_return(biases):
        chosen = {name: value.expand(3, *value.shape) for name, value in params.items()}
        chosen |= {head(params)[1]: biases, "log_std": torch.full((3, 2), -30.0)}
        streams = torch.Generator(), torch.Generator()
        return float(
            Collector(env, policy).collect(chosen, *streams).task_returns().double().mean()
        )

    own, others = mean_return(goals), mean_return(goals[found._others])
    assert measured["eval/return_pre"] == pytest.approx(mean_return(torch.zeros(3, 2)), abs=1e-5)
    assert measured["eval/return_post"] == pytest.approx(own, abs=1e-5)
    assert measured["eval/return_other"] == pytest.approx(others, abs=1e-5)
    assert measured["eval/gain_over_other"] == pytest.approx(own - others, abs=1e-5)
    assert own > others + 1.0
    # Three collections of three tasks with three episodes each; a goal that is reached ends one.
    assert 0 < measured["eval/env_steps"] <= 3 * 3 * 3 * EVALUATED.horizon


def test_validation_tasks_are_of_the_test_split_and_not_those_of_evaluate(tmp_path):
    found, family = validation_of(tmp_path), family_of(EVALUATED)
    stream = Generators.from_seed(EVALUATED.seed).evaluation
    assert found._tasks == family.sample_tasks(3, stream, "test")
    reported = family.sample_tasks(3, evaluation_generators(EVALUATED.seed, "test")[0], "test")
    assert not set(found._tasks) & set(reported)


def test_no_random_stream_of_training_is_drawn_from(tmp_path):
    state = trainer.initial_state(EVALUATED)
    before = state.generators.state()
    validation_of(tmp_path, state=state).measure(state.params)
    after = state.generators.state()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_of_a_finite_family_each_tasks_control_is_the_other_direction(tmp_path):
    config = dataclasses.replace(
        recipe("half-cheetah-direction"),
        **{"horizon": 4, "evaluation_tasks": 4, "episodes_per_task": 2, "sim_threads": 1},
        device="cpu",
    )
    found = validation_of(tmp_path, config, trainer.initial_state(config))
    directions = found._tasks.values["direction"]
    assert sorted(directions.tolist()) == [-1.0, -1.0, 1.0, 1.0]
    np.testing.assert_array_equal(directions[found._others], -directions)
    measured = found.measure(trainer.initial_state(config).params)
    assert all(math.isfinite(value) for value in measured.values())
    # K = 1 adaptation collection, three that are measured; a half-cheetah never falls.
    assert measured["eval/env_steps"] == 4 * 4 * 2 * 4
    state = trainer.initial_state(config)
    (tmp_path / "run").mkdir(exist_ok=True)
    chosen = load_policy(save_best(tmp_path / "run", config, state, 1.0)).metadata["chosen"]
    assert chosen == "best on its training tasks (none is held out), iteration 0"


def test_a_single_task_has_no_control_and_training_goes_on(tmp_path):
    run = trained(tmp_path / "run", dataclasses.replace(EVALUATED, evaluation_tasks=1))
    evaluated = [line for line in lines(run) if "eval/return_post" in line]
    for line in evaluated:
        assert line["eval/return_other"] is line["eval/gain_over_other"] is None
        assert math.isfinite(line["eval/return_post"])
        assert line["health/worse"] == 0.0
    assert (run / "best").is_dir()


def test_a_task_without_a_sound_episode_leaves_no_return(tmp_path):
    found = validation_of(tmp_path)
    params = trainer.initial_state(EVALUATED).params
    params["bias_1"][:] = torch.nan
    assert math.isnan(found.measure(params)["eval/return_post"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_evaluated(tmp_path, method):
    config = dataclasses.replace(
        recipe("navigation", method),
        **{"horizon": 5, "iterations": 1, "episodes_per_task": 4, "device": "cpu"},
        **{"evaluate_every": 1, "evaluation_tasks": 2, "sim_threads": 1},
    )
    if isinstance(config.policy, PlanningConfig):
        config = with_settings(config, {"outer.steps": 2, "policy.rounds": 1})
    (line,) = lines(trained(tmp_path / "run", config))
    assert math.isfinite(line["eval/gain_over_other"])
    assert load_policy(tmp_path / "run" / "best").metadata["iteration"] == 1


# ---- the best ------------------------------------------------------------------------------------


def test_the_best_is_kept_beside_the_last_and_no_nan_wins(tmp_path, monkeypatch):
    scripted(monkeypatch, math.nan, 1.0, 3.0, math.nan, 2.0)
    config = dataclasses.replace(EVALUATED, iterations=5, evaluate_every=1)
    run = trained(tmp_path / "run", config)
    best, last = load_policy(run / "best"), load_policy(run)
    assert best.metadata["iteration"] == 3
    assert best.metadata["chosen"] == "best on validation tasks, iteration 3"
    assert best.metadata["eval_return_post"] == 3.0
    assert last.metadata["iteration"] == 5
    assert "chosen" not in last.metadata
    _, third = load_checkpoint(run, 3)
    assert all(torch.equal(best.params[name], value) for name, value in third.params.items())
    assert [line["eval/best_iteration"] for line in lines(run)] == [0, 2, 3, 3, 3]
    assert [line["eval/best_return_post"] for line in lines(run)] == [None, 1.0, 3.0, 3.0, 3.0]


def test_a_run_that_resumes_goes_on_from_its_best_so_far(tmp_path, monkeypatch):
    scripted(monkeypatch, 5.0, 1.0, 4.0, 6.0)
    config = dataclasses.replace(EVALUATED, evaluate_every=1)
    run = trained(tmp_path / "run", dataclasses.replace(config, iterations=2))
    resumed(run, dataclasses.replace(config, iterations=3))
    assert load_policy(run / "best").metadata["iteration"] == 1
    resumed(run, config)
    assert load_policy(run / "best").metadata["iteration"] == 4


@pytest.mark.parametrize(("again", "kept"), [(7.0, True), (4.0, False)])
def test_a_best_that_no_checkpoint_has_reached_is_dropped_and_earned_again(
    tmp_path, monkeypatch, again, kept
):
    """A crash after the evaluation of iteration 3, whose newest checkpoint is of iteration 2."""
    scripted(monkeypatch, 5.0, 1.0, 7.0, again)
    config = dataclasses.replace(EVALUATED, evaluate_every=1, iterations=3, checkpoint_every=2)
    healthy = trainer.save_checkpoint

    def crash(run, config, state):
        if state.iteration == 3:
            raise KeyboardInterrupt
        return healthy(run, config, state)

    monkeypatch.setattr(trainer, "save_checkpoint", crash)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", config)
    run = tmp_path / "run"
    assert load_policy(run / "best").metadata["iteration"] == 3
    _, state = load_checkpoint(run)
    assert state.iteration == 2
    validation_of(run, config, state)
    assert not (run / "best").exists()
    monkeypatch.setattr(trainer, "save_checkpoint", healthy)
    resumed(run, config)
    assert (run / "best").exists() == kept
    assert [line["eval/best_return_post"] for line in lines(run)] == [5.0, 5.0, max(5.0, again)]


def test_results_of_the_best_lie_beside_it_where_the_next_best_leaves_them(tmp_path, monkeypatch):
    run = trained(tmp_path / "run")
    sizes = ["--tasks", "2", "--episodes", "2", "--sim-threads", "1"]
    assert main(["evaluate", str(run / "best"), *sizes]) == 0
    assert (run / "evaluation-best" / "evaluation.json").is_file()
    scripted(monkeypatch, 1e9)
    resumed(run, dataclasses.replace(EVALUATED, iterations=6))
    assert load_policy(run / "best").metadata["iteration"] == 6
    assert (run / "evaluation-best" / "evaluation.json").is_file()


# ---- policies with a belief ----------------------------------------------------------------------


def test_a_memory_is_measured_in_its_first_and_second_episode(tmp_path, monkeypatch):
    """Worlds of signs: +-4 in the first episode, 4 in the second, -4 with the other's belief."""
    saved = sign_policy()
    config = dataclasses.replace(
        saved.config, evaluation_tasks=4, episodes_per_task=1, device="cpu", sim_threads=1
    )
    given = []

    def env_of(config, num_tasks, episodes):
        given.append((num_tasks, episodes))
        return SignWorlds(num_tasks, episodes)

    monkeypatch.setattr(validation, "training_env", env_of)
    state = SimpleNamespace(
        params=saved.params, iteration=0, generators=Generators.from_seed(config.seed)
    )
    found = Validation(tmp_path, config, saved.policy, state)
    measured = found.measure(saved.params)
    assert measured["eval/return_pre"] == 0.0  # of two tasks of either sign
    assert measured["eval/return_post"] == 4.0
    assert measured["eval/return_other"] == -4.0
    assert measured["eval/gain"] == 4.0
    assert measured["eval/gain_over_other"] == 8.0
    assert given == [(4, 5)]
    # One episode lived through, and three that are measured, of four steps in 4 x 5 worlds.
    assert measured["eval/env_steps"] == 4 * 4 * 4 * 5
