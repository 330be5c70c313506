import dataclasses

import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import run_inner_loop
from metarl.adaptation.none import Unadapted
from metarl.evaluation.controls import averaged, exchanged
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import evaluate, mean_quantity
from metarl.evaluation.labels import NO_CONTROL
from metarl.evaluation.results import Evaluation
from metarl.evaluation.streams import evaluation_generators, measuring_generators
from metarl.methods.baselines import baseline_recipe
from metarl.methods.setup import family_of, inner_loop_of, policy_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import SavedPolicy
from metarl.training.warm_start import untrained_params
from metarl_envs import BatchEnv, InputError, get_family

SIZES = {"num_tasks": 4, "steps": 2, "episodes_per_step": 3}


def test_vector_parameters_have_a_column_per_entry():
    evaluation = evaluate(tiny_policy("navigation"), splits=["test"], **SIZES)
    row = evaluation.records()[0]
    goal = evaluation.splits[0].tasks.values["goal"][0].tolist()
    assert [row["goal_0"], row["goal_1"]] == goal


def env_of(family_name, seed):
    """The tasks of an evaluation in a batch of their own."""
    family = get_family(family_name)
    tasks, _, _ = evaluation_generators(seed, "test")
    env = BatchEnv(family, 4, 3, horizon=12)
    env.set_tasks(family.sample_tasks(4, tasks, "test"))
    return env


@pytest.mark.parametrize(
    ("explore", "words"), [(False, "mean action"), (True, "with action noise")]
)
def test_first_point_is_a_plain_collection_with_the_policy_itself(explore, words):
    saved = tiny_policy("half-cheetah-velocity")
    evaluation = evaluate(saved, splits=["test"], seed=3, explore=explore, **SIZES)
    env, generators = env_of("half-cheetah-velocity", 3), measuring_generators(3, "test")
    params = expand(saved.params, 4)
    rollouts = Collector(env, saved.policy).collect(params, *generators, explore=explore)
    (result,) = evaluation.splits
    assert result.tasks == env.tasks
    expected = rollouts.rewards.sum(-1).mean(1).numpy()
    np.testing.assert_allclose(result.returns[0], expected, rtol=1e-6)
    np.testing.assert_allclose(result.quantity[0], rollouts.quantity.mean(1).numpy(), rtol=1e-6)
    assert evaluation.measured_by == evaluation.summary()["measured_by"] == words
    assert bool((rollouts.log_probs[0, 0] == rollouts.log_probs[0, 0, 0]).all()) == (not explore)


def test_points_are_measured_on_as_many_episodes_as_asked_and_adapt_on_all():
    sizes = {"splits": ["test"], "budgets": (1,)} | SIZES
    saved = tiny_policy("half-cheetah-velocity")
    whole, few = evaluate(saved, **sizes), evaluate(saved, measured=2, **sizes)
    assert few.schedule == whole.schedule == [(0, 0), (2, 2), (1, 3), (2, 6)]
    assert few.summary()["measured_on"] == 2 and whole.summary()["measured_on"] == 3
    ours, theirs = few.splits[0].adapted, whole.splits[0].adapted
    assert ours is not None and theirs is not None
    for name, value in theirs.params.items():
        assert torch.equal(ours.params[name], value), name
    env = BatchEnv(get_family("half-cheetah-velocity"), 4, 2, horizon=12)
    env.set_tasks(few.splits[0].tasks)
    for row, params in ((0, expand(saved.params, 4)), (-1, ours.params)):
        rollouts = Collector(env, saved.policy).collect(
            params, *measuring_generators(0, "test"), explore=False
        )
        expected = rollouts.task_returns().numpy()
        np.testing.assert_allclose(few.splits[0].returns[row], expected, rtol=1e-6)


def test_the_random_baseline_is_measured_by_its_noise():
    config = dataclasses.replace(baseline_recipe("half-cheetah-velocity", "random"), horizon=12)
    policy = policy_of(config)
    noise = SavedPolicy(policy, untrained_params(config), config, {"iteration": 0})
    found = evaluate(noise, splits=["test"], **SIZES)
    assert found.measured_by == "with action noise"
    env = env_of("half-cheetah-velocity", 0)
    rollouts = Collector(env, policy).collect(
        expand(noise.params, 4), *measuring_generators(0, "test")
    )
    expected = rollouts.task_returns().double().numpy()
    assert found.splits[0].returns.tolist() == [expected.tolist()] * 3


def test_points_and_controls_of_a_step_that_changes_nothing_are_equal_bit_for_bit():
    saved = tiny_policy("half-cheetah-velocity")
    config = dataclasses.replace(saved.config, inner=GradientStep(inner_lr=1e-30))
    still = dataclasses.replace(saved, config=config)
    for explore in (False, True):
        result = evaluate(still, splits=["test"], explore=explore, **SIZES).splits[0]
        assert result.controls is not None
        before = result.returns[0].tolist()
        assert result.returns.tolist() == [before] * 3
        assert result.controls.other[1:].tolist() == [before] * 2
        np.testing.assert_allclose(result.controls.averaged[1:], [before] * 2, rtol=1e-5)
        assert np.isnan(result.controls.other[0]).all()


def test_controls_are_the_same_tasks_with_exchanged_and_averaged_parameters():
    saved = tiny_policy("navigation")
    both = evaluate(saved, splits=["test"], budgets=(1,), **SIZES)
    controls = both.splits[0].controls
    assert controls is not None
    ends = [loop_by_hand(saved, 1, 2).policies[2], *loop_by_hand(saved, None, 2).policies[1:]]
    # Four different tasks as they were drawn: each gets the parameters of the one after it.
    others = np.array([1, 2, 3, 0])
    for point, params in enumerate(ends, start=1):
        for row, changed in (
            (controls.other, exchanged(params, others)),
            (controls.averaged, averaged(params)),
        ):
            generators = measuring_generators(0, "test")
            measured = Collector(env_of("navigation", 0), saved.policy).collect(
                changed, *generators, explore=False
            )
            assert row[point].tolist() == measured.task_returns().double().tolist()


def test_a_finite_family_exchanges_between_its_tasks_or_says_that_it_cannot():
    saved = tiny_policy("half-cheetah-direction")
    found = evaluate(saved, **SIZES)
    result = found.splits[0]
    assert result.controls is not None and np.isfinite(result.controls.other[1:]).all()
    alone = evaluate(saved, **(SIZES | {"num_tasks": 3}))
    assert alone.splits[0].controls is None
    assert NO_CONTROL in curve_table(alone)
    summary = alone.summary()["splits"]["train"]
    assert summary["curve"][1]["another_task"] is None
    assert summary["verdict"] == NO_CONTROL


def chosen(name):
    words = "best on validation tasks, iteration 120"
    return dataclasses.replace(tiny_policy(name), metadata={"iteration": 120, "chosen": words})


def test_a_policy_is_not_measured_on_the_tasks_that_it_was_chosen_on():
    for splits in (None, ["test"], ["train"]):
        with pytest.raises(InputError, match="best on validation tasks, iteration 120: half-chee"):
            evaluate(chosen("half-cheetah-direction"), splits=splits, **SIZES)
    table = curve_table(evaluate(chosen("navigation"), splits=["test"], **SIZES))
    assert "best on validation tasks, iteration 120; measured by: mean action" in table
    crippled = evaluate(chosen("ant-crippled"), splits=["extrapolation"], **SIZES)
    assert len(crippled.splits) == 1


def same(first: Evaluation, second: Evaluation, split: str) -> bool:
    a, b = (
        next(result for result in evaluation.splits if result.split == split)
        for evaluation in (first, second)
    )
    return a.tasks == b.tasks and np.array_equal(a.returns, b.returns)


def test_seed_alone_fixes_a_split():
    saved = tiny_policy("half-cheetah-velocity")
    every = evaluate(saved, seed=1, **SIZES)
    assert [result.split for result in every.splits] == ["train", "test", "extrapolation"]
    alone = evaluate(saved, splits=["extrapolation"], seed=1, sim_threads=2, **SIZES)
    assert same(every, alone, "extrapolation")
    assert not same(every, evaluate(saved, seed=2, **SIZES), "test")


def test_nothing_global_is_drawn_from_or_changed():
    saved = tiny_policy("navigation")
    state = torch.random.get_rng_state()
    evaluate(saved, splits=["test"], **SIZES)
    assert torch.equal(state, torch.random.get_rng_state())


def test_finite_family_evaluates_each_task_and_says_nothing_is_held_out():
    evaluation = evaluate(tiny_policy("half-cheetah-direction"), splits=["test", "train"], **SIZES)
    (result,) = evaluation.splits
    assert result.split == "train"
    assert sorted(result.tasks.values["direction"].tolist()) == [-1, -1, 1, 1]
    table = curve_table(evaluation)
    assert "nothing held out" in table
    assert "2 tasks, 4 runs in all" in table
    assert "direction = -1" in table and "direction = 1 " in table


def test_faulted_episodes_do_not_count():
    saved = tiny_policy("half-cheetah-velocity")
    family = get_family("half-cheetah-velocity")
    env = BatchEnv(family, 1, 3, horizon=5)
    _, resets, actions = evaluation_generators(0, "test")
    rollouts = Collector(env, saved.policy).collect(expand(saved.params, 1), resets, actions)
    rollouts.diverged[0, 0] = True
    expected = rollouts.quantity[0, 1:].double().mean()
    assert mean_quantity(rollouts)[0] == pytest.approx(float(expected), abs=1e-12)


def test_diverged_episodes_of_every_collection_are_counted_once(monkeypatch):
    collect = Collector.collect

    def one_diverged(*arguments, **options):
        rollouts = collect(*arguments, **options)
        rollouts.diverged[0, 0] = True
        return rollouts

    monkeypatch.setattr(Collector, "collect", one_diverged)
    found = evaluate(tiny_policy("navigation"), splits=["test"], budgets=(1,), **SIZES).splits[0]
    # Before adapting, after one step on three episodes and on one; four points, three controlled.
    assert found.faulted_episodes == 1 + 1 + 1 + 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_tasks": 0}, "num_tasks = 0"),
        ({"steps": 0}, "steps = 0"),
        ({"episodes_per_step": 0}, "episodes_per_step = 0"),
        ({"measured": 0}, "measured = 0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        evaluate(tiny_policy("navigation"), **(SIZES | change))


def test_split_that_the_family_lacks_is_refused():
    with pytest.raises(InputError, match="allowed are train, test"):
        evaluate(tiny_policy("half-cheetah-direction"), splits=["extrapolation"], **SIZES)


def test_budgets_adapt_on_the_first_episodes_and_measure_on_all():
    saved = tiny_policy("navigation")
    sizes = SIZES | {"steps": 1}
    by_budget = evaluate(saved, splits=["test"], budgets=(1, 2, 3), **sizes)
    assert by_budget.schedule == [(0, 0), (1, 1), (1, 2), (1, 3)]
    whole = evaluate(saved, splits=["test"], **sizes).splits[0].returns
    found = by_budget.splits[0].returns
    assert found.shape == (4, 4)
    # The same episodes before; and all three of them are what an evaluation without budgets sees.
    np.testing.assert_array_equal(found[[0, 3]], whole)
    assert len(np.unique(found[1:], axis=0)) == 3
    assert [row["adaptation_episodes"] for row in by_budget.records()[:4]] == [0, 1, 2, 3]


def loop_by_hand(saved, learn_from, steps):
    """Steps of an evaluation's loop, collected from the beginning."""
    tasks, resets, actions = evaluation_generators(0, "test")
    env = BatchEnv(family_of(saved.config), 4, 3, horizon=saved.config.horizon)
    env.set_tasks(env.family.sample_tasks(4, tasks, "test"))
    how = inner_loop_of(saved.config, 1.0)
    start = expand(saved.params, 4)
    collector = Collector(env, saved.policy)

    def seen(params):
        return collector.collect(params, resets, actions).some_episodes(slice(learn_from))

    return run_inner_loop(saved.policy, how, start, steps, seen)


def test_curves_over_steps_and_episodes_share_what_they_can():
    saved = tiny_policy("navigation")
    both = evaluate(saved, splits=["test"], budgets=(1,), **SIZES)
    assert both.schedule == [(0, 0), (2, 2), (1, 3), (2, 6)]
    assert both.over_episodes().schedule == [(0, 0), (2, 2), (2, 6)]
    # Bit for bit what separate loops find, though all share one collection before adaptation.
    full, part = (loop_by_hand(saved, learn_from, 2).policies for learn_from in (None, 1))
    collector = Collector(env_of("navigation", 0), saved.policy)
    measured = [
        collector.collect(params, *measuring_generators(0, "test"), explore=False).task_returns()
        for params in (full[0], part[2], full[1], full[2])
    ]
    np.testing.assert_array_equal(both.splits[0].returns, torch.stack(measured).double().numpy())
    np.testing.assert_array_equal(
        both.over_episodes().splits[0].returns, both.splits[0].returns[[0, 1, 3]]
    )


def test_adapted_parameters_of_the_first_tasks_are_kept(monkeypatch):
    monkeypatch.setattr("metarl.evaluation.adapting.KEPT_TASKS", 3)
    saved = tiny_policy("navigation")
    (result,) = evaluate(saved, splits=["test"], budgets=(1,), **SIZES).splits
    assert result.adapted is not None
    assert result.adapted.tasks == result.tasks[[0, 1, 2]]
    inner = loop_by_hand(saved, None, 2)
    for name, value in inner.adapted.items():
        assert torch.equal(result.adapted.params[name], value[:3]), name


def test_without_adaptation_nothing_is_kept_and_nothing_collected_twice(monkeypatch):
    saved = tiny_policy("navigation")
    fixed = dataclasses.replace(saved, config=dataclasses.replace(saved.config, inner=Unadapted()))
    counted = []
    collect = Collector.collect
    monkeypatch.setattr(
        Collector,
        "collect",
        lambda *args, **named: counted.append(1) or collect(*args, **named),
    )
    (result,) = evaluate(fixed, splits=["test"], budgets=(1, 2), **SIZES).splits
    assert result.adapted is None and result.controls is None
    assert len(counted) == 1
    np.testing.assert_array_equal(result.returns, [result.returns[0]] * 5)


@pytest.mark.parametrize("budget", [0, 4])
def test_budget_beyond_the_episodes_is_refused(budget):
    with pytest.raises(InputError, match=f"budget = {budget} .* from 1 to the 3"):
        evaluate(tiny_policy("navigation"), budgets=(budget,), **SIZES)
