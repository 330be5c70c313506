"""Trials of policies with a memory, on worlds where the right return is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.remembering import RememberingConfig
from support.signs import HORIZON, SignWorlds, sign_policy
from support.tiny import tiny_policy

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import inner_step
from metarl.evaluation.controls import other_tasks
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.streams import evaluation_generators, measuring_generators
from metarl.evaluation.trials import live_through, remembers
from metarl.methods.setup import inner_loop_of, policy_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import joined_episodes
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import BatchEnv, get_family

SIZES = {"splits": ["train"], "num_tasks": 4, "episodes_per_step": 3, "budgets": (1, 2)}


@pytest.fixture
def worlds(monkeypatch):
    """Evaluations meet worlds of signs; returns the ones that the next evaluation gets."""

    def given(broken=()):
        def env_of(config, num_tasks, episodes, **_):
            return SignWorlds(num_tasks, episodes, broken)

        monkeypatch.setattr("metarl.evaluation.evaluate.env_of", env_of)

    given()
    return given


def measured(saved, **sizes):
    evaluation = evaluate(saved, **(SIZES | sizes))
    (result,) = evaluation.splits
    return evaluation, result, result.tasks.values["direction"].numpy().astype(float)


def test_as_many_trials_are_lived_through_as_points_are_measured_on(worlds, monkeypatch):
    sizes = []
    in_signs = "metarl.evaluation.evaluate.env_of"
    monkeypatch.setattr(in_signs, lambda _, M, E, **__: sizes.append((M, E)) or SignWorlds(M, E))
    for asked, lived in ((1, 1), (2, 2), (9, 5), (None, 3)):
        evaluation, result, signs = measured(sign_policy(), measured=asked)
        assert sizes.pop() == (4, lived) and not sizes
        assert evaluation.summary()["measured_on"] == lived
        np.testing.assert_array_equal(result.returns[0], HORIZON * signs)
        np.testing.assert_array_equal(result.returns[1:], np.full((3, 4), HORIZON))


# ---- the n-th episode of a trial -----------------------------------------------------------------


def test_returns_of_the_first_and_later_episodes_are_those_known(worlds):
    evaluation, result, signs = measured(sign_policy())
    assert evaluation.schedule == [(0, 0), (0, 1), (0, 2), (0, 3)]
    # +1 for the whole first episode; then as the sign asks.
    np.testing.assert_array_equal(result.returns[0], HORIZON * signs)
    np.testing.assert_array_equal(result.returns[1:], np.full((3, 4), HORIZON))
    np.testing.assert_array_equal(result.gains[1], HORIZON * (1 - signs))
    assert evaluation.adapts and evaluation.remembers and evaluation.carries == "belief"


def test_the_belief_of_another_task_returns_exactly_that_tasks_opposite(worlds):
    _, result, signs = measured(sign_policy())
    assert result.controls is not None and result.controls.averaged is None
    others = signs[other_tasks(result.groups[0])]
    np.testing.assert_array_equal(others, -signs)
    np.testing.assert_array_equal(result.controls.other[1:], np.full((3, 4), -HORIZON))
    assert np.isnan(result.controls.other[0]).all()


def test_a_memory_adapts_within_the_first_episode_and_its_rewards_are_kept_by_step(worlds):
    _, result, signs = measured(sign_policy(patience=1))
    by_step = np.stack([signs, *[np.ones(4)] * 3], axis=1)
    np.testing.assert_array_equal(result.first_rewards, by_step)
    np.testing.assert_array_equal(result.returns[0], by_step.sum(1))


def test_one_diverged_episode_leaves_no_trace_in_its_trial(worlds):
    # Three tasks' worlds are whole. World 0 of task 0 diverges in the first of three episodes
    # lived through, and world 1 in the last: the sign of the latter is known by then.
    worlds(broken=[(0, 0), (2, 1)])
    _, result, signs = measured(sign_policy(), budgets=(1, 2))
    assert result.faulted_episodes == 2
    np.testing.assert_array_equal(result.returns[1:, 1:], np.full((3, 3), HORIZON))
    # After one episode world 0 of the three still knows nothing; after two it does.
    first = (HORIZON * signs[0] + 2 * HORIZON) / 3
    np.testing.assert_allclose(result.returns[1:, 0], [first, HORIZON, HORIZON])


def test_a_diverged_measured_episode_is_left_out_of_its_tasks_mean(worlds):
    # Episode 3 of the worlds is the first that is measured: all of task 1 diverges in it.
    worlds(broken=[(3, 3), (3, 4), (3, 5)])
    _, result, signs = measured(sign_policy())
    assert np.isnan(result.returns[0, 1])
    assert np.isnan(result.first_rewards[1]).all()
    kept = [0, 2, 3]
    np.testing.assert_array_equal(result.returns[0, kept], HORIZON * signs[kept])
    assert result.faulted_episodes == 3


def test_points_are_the_episodes_of_gradient_methods_each_once(worlds):
    evaluation, _, _ = measured(sign_policy(), steps=2, budgets=(1, 3), episodes_per_step=3)
    # A gradient method has (1, 3), (2, 2), (2, 6) and, with the budget of all, (2, 6) again.
    assert evaluation.schedule == [(0, 0), (0, 2), (0, 3), (0, 6)]
    assert evaluation.over_episodes().schedule == evaluation.schedule


def test_tables_speak_of_episodes_and_beliefs(worlds):
    evaluation, _, _ = measured(sign_policy())
    table = " ".join(curve_table(evaluation).split())
    assert "gain over the first episode" in table
    assert "0 0 0.0 [0.0, 0.0] 0 1 4.0 [4.0, 4.0] +4.0 [+4.0, +4.0]" in table
    assert "1 -4.0 +8.0 [+8.0, +8.0]" in table
    assert "begun with the belief of another task's trial" in table
    assert "adaptation to the task (another task's belief returns less)" in table
    assert "parameters" not in table
    (split,) = evaluation.summary()["splits"].values()
    assert [point["adaptation_episodes"] for point in split["curve"]] == [0, 1, 2, 3]
    assert split["curve"][1]["another_task"]["return"][0] == -HORIZON
    assert split["curve"][1]["mean_of_tasks"] is None
    row = evaluation.records()[1]
    assert (row["return_of_another_task"], row["gradient_steps"]) == (-HORIZON, 0)
    assert np.isnan(row["return_of_mean"])


# ---- real worlds ---------------------------------------------------------------------------------


def remembering(seed=0):
    saved = tiny_policy("half-cheetah-velocity")
    config = dataclasses.replace(
        saved.config, policy=RememberingConfig(action_scale=1.0), inner=sign_policy().config.inner
    )
    policy = policy_of(config)
    params = policy.init(torch.Generator().manual_seed(seed))
    return SavedPolicy(policy, params, config, {"iteration": 0})


def test_every_point_equals_a_trial_lived_through_by_hand():
    saved = remembering()
    sizes = {"num_tasks": 4, "episodes_per_step": 3, "budgets": (1,)}
    (result,) = evaluate(saved, splits=["test"], seed=5, **sizes).splits
    stream, resets, actions = evaluation_generators(5, "test")
    env = BatchEnv(get_family("half-cheetah-velocity"), 4, 3, horizon=12)
    env.set_tasks(env.family.sample_tasks(4, stream, "test"))
    collector, shared, belief = Collector(env, saved.policy), expand(saved.params, 1), None
    beliefs = [belief]
    for _ in range(3):
        found = collector.collect(shared, resets, actions, explore=False, belief=belief)
        belief = found.belief
        beliefs.append(belief)
    expected = [
        collector.collect(
            shared, *measuring_generators(5, "test"), explore=False, belief=beliefs[n]
        )
        for n in (0, 1, 3)
    ]
    returns = [rollouts.task_returns().double().numpy() for rollouts in expected]
    np.testing.assert_array_equal(result.returns, returns)
    assert len({row.tobytes() for row in result.returns}) == 3
    other = {name: value.roll(-1, 0) for name, value in beliefs[1].items()}
    exchanged = collector.collect(
        shared, *measuring_generators(5, "test"), explore=False, belief=other
    )
    np.testing.assert_array_equal(
        result.controls.other[1], exchanged.task_returns().double().numpy()
    )
    np.testing.assert_allclose(result.first_rewards.sum(1), result.returns[0], rtol=1e-6)


def test_a_trial_counts_its_episodes_and_steps():
    saved = remembering()
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 3, horizon=12)
    env.set_tasks(env.family.sample_tasks(2, torch.Generator(), "test"))
    calls = []
    lived = live_through(
        Collector(env, saved.policy), saved.params, torch.Generator(), torch.Generator(),
        (0, 2, 5), lived=lambda: calls.append(1),
    )  # fmt: skip
    assert {n: float(belief["acted"].unique()) for n, belief in lived.beliefs.items()} == {
        0: 0, 2: 24, 5: 60,
    }  # fmt: skip
    assert lived.env_steps == 5 * 2 * 3 * 12
    assert len(calls) == 5


def test_a_policy_without_a_belief_is_no_policy_that_remembers():
    assert remembers(remembering().policy, remembering().params)
    saved = tiny_policy("navigation")
    assert not remembers(saved.policy, saved.params)


# ---- both kinds together -------------------------------------------------------------------------


def with_steps(inner_lr):
    saved = remembering()
    config = dataclasses.replace(saved.config, inner=GradientStep(inner_lr=inner_lr))
    return dataclasses.replace(saved, config=config)


def both_by_hand(saved, episodes, tasks_seed=5):
    """Parameters and belief of 4 x 3 trials after a step on so many episodes each."""
    stream, resets, actions = evaluation_generators(tasks_seed, "test")
    env = BatchEnv(get_family("half-cheetah-velocity"), 12, 1, horizon=12)
    env.set_tasks(env.family.sample_tasks(4, stream, "test")[[m for m in range(4) for _ in "abc"]])
    collector, start = Collector(env, saved.policy), expand(saved.params, 12)
    belief, parts = saved.policy.begin(start, 1), []
    for _ in range(episodes):
        parts.append(collector.collect(start, resets, actions, belief=belief))
        belief = parts[-1].belief
    if not parts:
        return collector, start, belief
    config = inner_loop_of(saved.config, 1.0)
    batch = config.batch(joined_episodes(parts))
    params, failed = inner_step(saved.policy, config, start, batch, 0)
    assert not failed.any()
    return collector, params, belief


def test_every_trial_takes_a_step_of_its_own_and_goes_on_with_its_belief():
    saved = with_steps(0.5)
    sizes = {"num_tasks": 4, "episodes_per_step": 3, "budgets": (2,)}
    evaluation = evaluate(saved, splits=["test"], seed=5, **sizes)
    (result,) = evaluation.splits
    assert evaluation.schedule == [(0, 0), (1, 2), (1, 3)]
    assert evaluation.carries == "belief and adapted parameters"
    assert len(result.tasks) == 4 and result.first_rewards.shape == (4, 12)

    def returned(episodes, other=0):
        collector, params, belief = both_by_hand(saved, episodes)
        rows = {name: value.roll(-other * 3, 0) for name, value in params.items()}
        belief = {name: value.roll(-other * 3, 0) for name, value in belief.items()}
        streams = measuring_generators(5, "test")
        rollouts = collector.collect(rows, *streams, explore=False, belief=belief)
        return rollouts.returns().view(4, 3).mean(1).double().numpy()

    for point, episodes in enumerate((0, 2, 3)):
        np.testing.assert_allclose(result.returns[point], returned(episodes), rtol=1e-3)
    np.testing.assert_allclose(result.controls.other[1], returned(2, other=1), rtol=1e-3)
    _, params, _ = both_by_hand(saved, 2)
    heads = params["weight_0"]
    assert not torch.equal(heads[0], heads[1])  # of one task
    still = evaluate(with_steps(1e-30), splits=["test"], seed=5, **sizes).splits[0]
    assert np.abs(still.returns[1:] / result.returns[1:] - 1).max() > 0.01
