import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny import tiny_policy

from metarl.adaptation.none import Unadapted
from metarl.adaptation_curve import Evaluation, SplitEvaluation
from metarl.captions import quantity_label, task_text
from metarl.evaluation import evaluate, evaluation_generators, mean_quantity
from metarl.inner_loop import run_inner_loop
from metarl.params import expand
from metarl.rollouts import collect
from metarl_envs import FAMILIES, BatchEnv, InputError, Tasks, get_family

SIZES = {"num_tasks": 4, "steps": 2, "episodes_per_step": 3}


def made_up(returns, velocities=(0.5, 1.0), *, split="test", **changes) -> Evaluation:
    """An evaluation of half-cheetah-velocity with given numbers, (K+1, M)."""
    returns = np.array(returns, dtype=float)
    result = SplitEvaluation(
        split,
        Tasks({"velocity": torch.tensor(velocities)}),
        returns,
        quantity=returns / 10,
        faulted_episodes=changes.pop("faulted_episodes", 0),
        failed_adaptations=0,
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
    assert "4.0" in evaluation.table() and "nan" not in evaluation.table()
    assert evaluation.summary()["splits"]["test"]["curve"][1]["gain"] == [3.0, None, None]


def test_table_states_numbers_intervals_tasks_and_units():
    table = made_up([[0.0, 2.0], [10.0, 16.0]], faulted_episodes=3).table()
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "0 0 1.0 [0.0, 2.0]" in lines
    assert "1 20 13.0 [10.0, 16.0] +12.0 [+10.0, +14.0]" in lines
    assert "return forward velocity, m/s" in lines
    assert "velocity = 0.5 m/s 0.0 -> 10.0 0.00 -> 1.00" in lines
    assert "left out: 3 episodes that diverged" in table
    assert max(map(len, table.splitlines())) <= 100


def test_table_of_many_tasks_shows_the_extremes():
    gains = np.arange(9.0)
    table = made_up([np.zeros(9), gains], tuple(0.1 * (1 + gains))).table()
    assert "largest gain: velocity = 0.9 m/s" in table
    assert "median: velocity = 0.5 m/s" in table
    assert "smallest: velocity = 0.1 m/s" in table
    assert "velocity = 0.2 m/s" not in table


def test_records_are_tidy():
    rows = made_up([[0.0, 2.0], [10.0, 16.0]]).records()
    assert rows[3] == {
        "split": "test",
        "task": 1,
        "velocity": 1.0,
        "gradient_steps": 1,
        "adaptation_episodes": 20,
        "return": 16.0,
        "forward_velocity_m_per_s": 1.6,
    }
    assert len(rows) == 4


def test_vector_parameters_have_a_column_per_entry():
    evaluation = evaluate(tiny_policy("navigation"), splits=["test"], **SIZES)
    row = evaluation.records()[0]
    goal = evaluation.splits[0].tasks.values["goal"][0].tolist()
    assert [row["goal_0"], row["goal_1"]] == goal


def test_first_point_is_a_plain_collection_with_the_policy_itself():
    saved = tiny_policy("half-cheetah-velocity")
    evaluation = evaluate(saved, splits=["test"], seed=3, **SIZES)
    family = get_family("half-cheetah-velocity")
    tasks, resets, actions = evaluation_generators(3, "test")
    env = BatchEnv(family, 4, 3, horizon=12)
    env.set_tasks(family.sample_tasks(4, tasks, "test"))
    rollouts = collect(env, saved.policy, expand(saved.params, 4), resets, actions)
    (result,) = evaluation.splits
    assert result.tasks == env.tasks
    expected = rollouts.rewards.sum(-1).mean(1).numpy()
    np.testing.assert_allclose(result.returns[0], expected, rtol=1e-6)
    np.testing.assert_allclose(result.quantity[0], rollouts.quantity.mean(1).numpy(), rtol=1e-6)


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
    table = evaluation.table()
    assert "nothing held out" in table
    assert "2 tasks, 4 runs in all" in table
    assert "direction = -1" in table and "direction = 1 " in table


def test_faulted_episodes_do_not_count():
    saved = tiny_policy("half-cheetah-velocity")
    family = get_family("half-cheetah-velocity")
    env = BatchEnv(family, 1, 3, horizon=5)
    _, resets, actions = evaluation_generators(0, "test")
    rollouts = collect(env, saved.policy, expand(saved.params, 1), resets, actions)
    rollouts.faulted[0, 0] = True
    expected = rollouts.quantity[0, 1:].double().mean()
    assert mean_quantity(rollouts)[0] == pytest.approx(float(expected), abs=1e-12)


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
    """What an evaluation's loop does, collected from the beginning."""
    tasks, resets, actions = evaluation_generators(0, "test")
    env = BatchEnv(saved.config.task_family(), 4, 3, horizon=saved.config.horizon)
    env.set_tasks(env.family.sample_tasks(4, tasks, "test"))
    how = saved.config.inner_loop(progress=1.0)
    start = expand(saved.params, 4)
    cpu = torch.device("cpu")
    return run_inner_loop(env, saved.policy, start, how, steps, resets, actions, cpu, learn_from)


def test_curves_over_steps_and_episodes_share_what_they_can():
    saved = tiny_policy("navigation")
    both = evaluate(saved, splits=["test"], budgets=(1,), **SIZES)
    assert both.schedule == [(0, 0), (2, 2), (1, 3), (2, 6)]
    assert both.over_steps().schedule == [(0, 0), (1, 3), (2, 6)]
    assert both.over_episodes().schedule == [(0, 0), (2, 2), (2, 6)]
    # Bit for bit what separate loops find, though all share one collection before adaptation.
    full, part = (loop_by_hand(saved, learn_from, 2).rollouts for learn_from in (None, 1))
    expected = [full[0].task_returns(), part[2].task_returns()]
    expected += [full[k].task_returns() for k in (1, 2)]
    np.testing.assert_array_equal(both.splits[0].returns, torch.stack(expected).double().numpy())
    np.testing.assert_array_equal(
        both.over_episodes().splits[0].returns, both.splits[0].returns[[0, 1, 3]]
    )


def test_adapted_parameters_of_the_first_tasks_are_kept(monkeypatch):
    monkeypatch.setattr("metarl.evaluation.KEPT_TASKS", 3)
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
    monkeypatch.setattr(
        "metarl.inner_loop.collect", lambda *args: counted.append(1) or collect(*args)
    )
    (result,) = evaluate(fixed, splits=["test"], budgets=(1, 2), **SIZES).splits
    assert result.adapted is None
    assert len(counted) == 2  # after each step; before adaptation it is collected once for all
    np.testing.assert_array_equal(result.returns[1], result.returns[-1])


@pytest.mark.parametrize("budget", [0, 4])
def test_budget_beyond_the_episodes_is_refused(budget):
    with pytest.raises(InputError, match=f"budget = {budget} .* from 1 to the 3"):
        evaluate(tiny_policy("navigation"), budgets=(budget,), **SIZES)
