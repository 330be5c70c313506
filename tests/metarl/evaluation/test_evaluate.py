import dataclasses
import math

import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import run_inner_loop
from metarl.adaptation.none import Unadapted
from metarl.evaluation.controls import averaged, exchanged
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import evaluate, mean_quantity, which_policy
from metarl.evaluation.labels import ANY_TASK, NO_CONTROL, quantity_label, task_text, verdict
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation
from metarl.evaluation.statistics import Interval
from metarl.evaluation.streams import evaluation_generators, measuring_generators
from metarl.methods.baselines import baseline_recipe
from metarl.methods.setup import family_of, inner_loop_of, policy_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import SavedPolicy
from metarl.training.warm_start import untrained_params
from metarl_envs import FAMILIES, BatchEnv, InputError, Tasks, get_family

SIZES = {"num_tasks": 4, "steps": 2, "episodes_per_step": 3}


def made_up(
    returns, velocities=(0.5, 1.0), *, split="test", others=None, means=None, **changes
) -> Evaluation:
    """An evaluation of half-cheetah-velocity with given numbers, (K+1, M); controls (K, M)."""
    returns = np.array(returns, dtype=float)
    controls = None
    if others is not None:
        nothing = [math.nan] * returns.shape[1]
        controls = Controls(np.array([nothing, *others]), np.array([nothing, *(means or others)]))
    result = SplitEvaluation(
        split,
        Tasks({"velocity": torch.tensor(velocities)}),
        returns,
        quantity=returns / 10,
        faulted_episodes=changes.pop("faulted_episodes", 0),
        failed_adaptations=0,
        controls=controls,
    )
    return Evaluation(get_family("half-cheetah-velocity"), (result,), 100, 20, 0, {}, **changes)


def test_curve_by_hand():
    evaluation = made_up([[0.0, 2.0], [10.0, 16.0], [10.0, 22.0]])
    before, first, last = evaluation.curve(evaluation.splits[0])
    # Two tasks: a resample of their mean spans exactly the two values.
    assert before.returns == (1.0, 0.0, 2.0)
    assert before.gain == (0.0, 0.0, 0.0)
    assert first.returns == (13.0, 10.0, 16.0)
    assert first.gain == (12.0, 10.0, 14.0)
    assert last.gain == (15.0, 10.0, 20.0)
    assert [p.gradient_steps for p in (before, first, last)] == [0, 1, 2]
    assert [p.adaptation_episodes for p in (before, first, last)] == [0, 20, 40]


def test_gain_is_paired():
    # Returns spread by 1000 between tasks, gains by nothing: the interval must not see the spread.
    evaluation = made_up([[0.0, 1000.0], [5.0, 1005.0]])
    assert evaluation.curve(evaluation.splits[0])[1].gain == (5.0, 5.0, 5.0)


def test_task_without_a_sound_episode_is_left_out():
    evaluation = made_up([[0.0, 1.0, 2.0], [8.0, math.nan, 12.0]], (0.5, 1.0, 1.5))
    before, after = evaluation.curve(evaluation.splits[0])
    assert before.returns.estimate == 1.0
    assert after.returns == (10.0, 8.0, 12.0)
    assert after.gain == (9.0, 8.0, 10.0)


def test_repeated_runs_of_few_tasks_are_resampled_within_each_task():
    # Two tasks, two runs each; were tasks resampled too, the bounds would reach -100 and 101.
    evaluation = made_up([[-100, -99, 100, 101]], (0.5, 0.5, 1.5, 1.5))
    assert evaluation.curve(evaluation.splits[0])[0].returns == (0.5, 0.0, 1.0)


def test_single_task_has_no_interval():
    evaluation = made_up([[1.0], [4.0]], (0.5,))
    point = evaluation.curve(evaluation.splits[0])[1]
    assert point.gain.estimate == 3.0 and math.isnan(point.gain.low)
    table = curve_table(evaluation)
    assert "4.0" in table and "nan" not in table
    assert evaluation.summary()["splits"]["test"]["curve"][1]["gain"] == [3.0, None, None]


def test_table_states_numbers_intervals_tasks_and_units():
    evaluation = made_up(
        [[0.0, 2.0], [10.0, 16.0]],
        others=[[9.0, 11.0]],
        means=[[12.0, 15.0]],
        faulted_episodes=3,
        policy="final policy, iteration 7",
    )
    table = curve_table(evaluation)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "0 0 1.0 [0.0, 2.0]" in lines
    assert "1 20 13.0 [10.0, 16.0] +12.0 [+10.0, +14.0]" in lines
    assert "return forward velocity, m/s" in lines
    assert "velocity = 0.5 m/s 0.0 -> 10.0 0.00 -> 1.00" in lines
    # Another task's parameters return 10, so own ones 1 and 5 more; their mean 13.5.
    assert "1 20 10.0 +3.0 [+1.0, +5.0] 13.5 -0.5 [-2.0, +1.0]" in lines
    assert "adaptation to the task (another task's adapted parameters return less)" in lines
    assert "final policy, iteration 7; measured by: mean action" in lines
    assert "left out: 3 episodes that diverged" in table
    assert max(map(len, table.splitlines())) <= 100


def test_table_of_many_tasks_shows_the_extremes():
    gains = np.arange(9.0)
    table = curve_table(made_up([np.zeros(9), gains], tuple(0.1 * (1 + gains))))
    assert "largest gain: velocity = 0.9 m/s" in table
    assert "median: velocity = 0.5 m/s" in table
    assert "smallest: velocity = 0.1 m/s" in table
    assert "velocity = 0.2 m/s" not in table


def test_what_does_not_adapt_has_no_gain():
    returns = np.arange(9.0) + 3
    evaluation = made_up([returns, returns], tuple(0.1 * (1 + np.arange(9.0))), adapts=False)
    table = curve_table(evaluation)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    (row,) = [line for line in lines if line.startswith("0 0 ")]  # one point, measured once
    assert row.startswith("0 0 7.0 [") and row.endswith("] does not adapt")
    assert "+0.0" not in table and "->" not in table
    assert "largest return: velocity = 0.9 m/s 11.0 1.10" in lines
    assert "smallest: velocity = 0.1 m/s 3.0 0.30" in lines
    split = evaluation.summary()["splits"]["test"]
    assert [point["gain"] for point in split["curve"]] == [None, None]
    assert split["iqm_gain"] is None


def test_records_are_tidy():
    returns = [[0.0, 2.0], [10.0, 16.0]]
    rows = made_up(returns, others=[[9.0, 11.0]], means=[[12.0, 15.0]]).records()
    assert rows[3] == {
        "split": "test",
        "task": 1,
        "velocity": 1.0,
        "gradient_steps": 1,
        "adaptation_episodes": 20,
        "return": 16.0,
        "return_of_another_task": 11.0,
        "return_of_mean": 15.0,
        "forward_velocity_m_per_s": 1.6,
    }
    assert len(rows) == 4


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


def test_controls_are_paired_and_their_intervals_by_hand():
    returns = [[0.0, 1000.0], [5.0, 1009.0]]
    evaluation = made_up(returns, others=[[4.0, 1004.0]], means=[[6.0, 1006.0]])
    before, after = evaluation.curve(evaluation.splits[0])
    assert before.other is None and before.averaged is None
    assert after.other.returns == (504.0, 4.0, 1004.0)
    assert after.other.gain_over == (3.0, 1.0, 5.0)
    assert after.averaged.gain_over == (1.0, -1.0, 3.0)
    point = evaluation.summary()["splits"]["test"]["curve"][1]
    assert point["another_task"] == {"return": [504.0, 4.0, 1004.0], "gain_over": [3.0, 1.0, 5.0]}
    assert point["mean_of_tasks"]["gain_over"] == [1.0, -1.0, 3.0]
    assert evaluation.over_episodes().splits[0].controls.other[1].tolist() == [4.0, 1004.0]


@pytest.mark.parametrize(
    ("gain", "over", "words"),
    [
        ((5, 3, 7), (2, 1, 3), "adaptation to the task (another"),
        ((5, 3, 7), (2, -1, 3), ANY_TASK),
        ((5, 3, 7), (-2, -3, -1), ANY_TASK),
        ((1, -1, 3), (2, 1, 3), "no gain is shown: its interval holds zero"),
        ((5, math.nan, math.nan), (2, 1, 3), "no verdict without intervals"),
        ((5, 3, 7), None, NO_CONTROL),
    ],
)
def test_verdicts_on_a_gain(gain, over, words):
    assert verdict(Interval(*gain), over and Interval(*over)).startswith(words)


def test_the_policy_measured_is_named():
    saved = tiny_policy("navigation")

    def named(iterations, **metadata):
        config = dataclasses.replace(saved.config, iterations=iterations)
        return which_policy(dataclasses.replace(saved, config=config, metadata=metadata))

    assert named(200, iteration=200) == "final policy, iteration 200"
    assert named(200, iteration=150) == "policy of iteration 150 of 200"
    best = "best on validation tasks, iteration 120"
    assert named(200, iteration=120, chosen=best) == best
    assert named(9, iteration=0, env_steps=0) == "untrained"
    assert named(9, iteration=0, env_steps=0, start="ab12") == "another run's weights"
    assert named(9, iteration=0, env_steps=4000) == "trained elsewhere"


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
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        evaluate(tiny_policy("navigation"), **(SIZES | change))


def test_split_that_the_family_lacks_is_refused():
    with pytest.raises(InputError, match="allowed are train, test"):
        evaluate(tiny_policy("half-cheetah-direction"), splits=["extrapolation"], **SIZES)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("forward_velocity_m_per_s", ("forward velocity", "m/s")),
        ("distance_to_goal_m", ("distance to goal", "m")),
        ("tilt_rad", ("tilt", "rad")),
        ("success", ("success", "")),
    ],
)
def test_quantities_are_named_with_their_units(name, label):
    assert quantity_label(name) == label


def test_every_quantity_of_every_family_has_a_unit():
    for family in FAMILIES.values():
        assert quantity_label(family.quantity)[1] != "", family.name


def test_tasks_are_written_as_they_are_typed_with_units():
    velocity = get_family("half-cheetah-velocity")
    assert task_text(velocity, velocity.make_task({"velocity": 1.5}), 0) == "velocity = 1.5 m/s"
    navigation = get_family("navigation")
    goals = Tasks({"goal": torch.tensor([[0.1, 0.2], [0.25, -0.3]])})
    assert task_text(navigation, goals, 1) == "goal = (0.25, -0.3) m"
    hopper = get_family("hopper-dynamics")
    assert task_text(hopper, hopper.nominal_tasks(), 0, ["mass_scale"]) == "mass_scale[4] = 1 ... 1"
    text = task_text(hopper, hopper.nominal_tasks(), 0)
    assert text.startswith("mass_scale[4] = 1 ... 1, damping_scale[3] = 1 ... 1")


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
    monkeypatch.setattr("metarl.evaluation.evaluate.KEPT_TASKS", 3)
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
