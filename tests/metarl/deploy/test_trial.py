"""A trial in a control loop keeps the state itself, within limits, and is saved with its belief."""

import gymnasium
import numpy as np
import pytest
from support.tiny import tiny_policy
from support.tiny_memory import tiny_memory

import metarl
from metarl import Limits, RobotTrial
from metarl.deploy import MetaPolicy
from metarl.policies.encoders import ENCODERS
from metarl_envs import InputError

HERE, THERE = np.array([0.1, -0.2]), np.array([0.3, 0.0])
SILENT, REWARDED = (MetaPolicy(tiny_memory(observe_reward=read)) for read in (False, True))


def lived(policy, steps=13, **how):
    """A trial through two ends of episodes, with all its actions."""
    trial, actions = RobotTrial(policy, **how), []
    for t in range(steps):
        actions.append(trial.act(HERE * (1 + t)))
        trial.observe(-0.1 * t, THERE * t, terminated=t == 4, truncated=t == 9)
    return trial, np.stack(actions)


def predicted(policy, steps=13):
    state, actions = None, []
    for t in range(steps):
        action, state = policy.predict(HERE * (1 + t), state)
        state = policy.observe(state, action, -0.1 * t, THERE * t, t == 4, t == 9)
        actions.append(action)
    return state, np.stack(actions)


@pytest.mark.parametrize("policy", [SILENT, REWARDED, MetaPolicy(tiny_policy("navigation"))])
def test_its_actions_are_those_of_predict_and_observe(policy):
    _, expected = predicted(policy)
    np.testing.assert_array_equal(lived(policy)[1], expected)


def test_without_observe_it_acts_only_for_a_policy_that_reads_no_rewards():
    trial, state = RobotTrial(SILENT), None
    for t in range(5):
        expected, state = SILENT.predict(HERE * t, state)
        np.testing.assert_array_equal(trial.act(HERE * t), expected)
    trial = RobotTrial(REWARDED)
    trial.act(HERE)
    with pytest.raises(InputError, match=r"reads rewards: call trial\.observe\(reward, obs"):
        trial.act(THERE)
    trial.observe(1.0, THERE)
    with pytest.raises(InputError, match="no action was sent; call trial"):
        trial.observe(1.0, THERE)


def test_what_is_not_finite_leaves_it_as_it_was():
    trial, same = RobotTrial(REWARDED), RobotTrial(REWARDED)
    for one in (trial, same):
        one.act(HERE)
        if one is trial:
            with pytest.raises(InputError, match=r"observation\[0\] = nan"):
                one.observe(1.0, [np.nan, 0.0])
            with pytest.raises(InputError, match="reward = inf"):
                one.observe(np.inf, THERE)
        one.observe(1.0, THERE)
        if one is trial:
            with pytest.raises(InputError, match=r"observation\[1\] = inf"):
                one.act([0.0, np.inf])
            with pytest.raises(InputError, match=r"of shape \(1, 2\): a trial is of one robot"):
                one.act([HERE])
    np.testing.assert_array_equal(trial.act(THERE), same.act(THERE))


def test_limits_hold():
    free = lived(SILENT)[1]
    low, high = np.quantile(free, [0.4, 0.6], axis=0).astype(np.float32)
    _, actions = lived(SILENT, limits=Limits(action_low=low, action_high=high))
    np.testing.assert_allclose(actions[0], free[0].clip(low, high), rtol=0, atol=1e-7)
    assert (actions >= low).all()
    assert (actions <= high).all()
    assert ((actions == low) | (actions == high)).any()
    trial = RobotTrial(SILENT, limits=Limits(unsafe=lambda observation: observation[0] > 0.2))
    trial.act(HERE)
    with pytest.raises(InputError, match=r"limits\.unsafe: the robot is unsafe, so it gets no act"):
        trial.act(THERE)
    for name in ("min_return", "good_return", "max_step_kl", "check_episodes"):
        with pytest.raises(InputError, match=f"limits.{name}: is for an adaptation, and a trial"):
            RobotTrial(SILENT, limits=Limits(**{name: 2}))


ENCODED = [MetaPolicy(tiny_memory(encoder=name, memory_size=8)) for name in ENCODERS]


@pytest.mark.parametrize("policy", [SILENT, *ENCODED])
def test_it_goes_on_in_another_program_from_where_it_was(tmp_path, policy):
    trial, _ = lived(policy)
    assert trial.policy.adapted["trial"] == {"episodes": 2, "steps": 13}
    assert str(trial.policy).endswith("adapted in a trial of 2 episodes, 13 steps")
    again = metarl.load(trial.policy.save(tmp_path / "known"))
    np.testing.assert_array_equal(RobotTrial(again).act(HERE), trial.act(HERE))
    state, _ = predicted(policy)
    np.testing.assert_array_equal(again.predict(HERE)[0], policy.predict(HERE, state)[0])
    rows, _ = again.predict(np.stack([HERE, THERE]), state=None)
    np.testing.assert_allclose(rows[0], again.predict(HERE)[0], rtol=0, atol=1e-6)
    assert np.abs(rows[0] - policy.predict(HERE)[0]).max() > 1e-4
    assert RobotTrial(policy).policy.adapted is None


def test_an_action_without_an_outcome_is_not_part_of_the_policy_that_is_saved():
    trial, observed = RobotTrial(SILENT), RobotTrial(SILENT)
    for t in range(4):
        trial.act(HERE * t)
    for t in range(3):
        observed.act(HERE * t)
        observed.observe(0.0, HERE * (t + 1))
    for name, value in observed.policy.saved.belief.items():
        np.testing.assert_allclose(trial.policy.saved.belief[name], value, rtol=0, atol=1e-6)


def test_it_needs_no_environment_but_drives_one():
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": [0.3, -0.2]}})
    trial = RobotTrial(REWARDED)
    for _ in range(2):
        observation, over = env.reset()[0], False
        while not over:
            observation, reward, *ends, _ = env.step(trial.act(observation))
            trial.observe(reward, observation, *ends)
            over = any(ends)
    assert trial.policy.adapted["trial"]["episodes"] == 2
    assert trial.policy.saved.belief["previous"][-1] == 1
