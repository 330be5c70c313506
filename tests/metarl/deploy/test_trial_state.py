"""A policy with a memory predicts and observes: for N robots, and never on a stale outcome."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from support.remembering import RememberingConfig
from support.tiny import tiny_policy
from support.tiny_memory import tiny_memory

from metarl.deploy import MetaPolicy
from metarl.deploy.state import TrialState
from metarl.policies.base import Policy
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import InputError, get_family

HERE = np.array([[0.1, -0.2], [0.3, 0.0], [-0.5, 0.2]], np.float32)
SILENT, REWARDED = (MetaPolicy(tiny_memory(observe_reward=read)) for read in (False, True))


def remembering() -> MetaPolicy:
    """All of an outcome is read."""
    config = RememberingConfig(action_scale=1.0)
    policy = Policy.for_family(get_family("navigation"), config)
    params = policy.init(torch.Generator().manual_seed(0))
    return MetaPolicy(SavedPolicy(policy, params, tiny_policy("navigation").config, {}))


def by_hand(policy: MetaPolicy, steps):
    """Actions of the bare policy function; each step is observations and an outcome before it."""
    function, params = policy.saved.policy, policy.saved.params
    belief, actions = function.begin(params, len(steps[0][0])), []
    with torch.no_grad():
        for observations, outcome in steps:
            if outcome is not None:
                belief = function.observe(params, belief, outcome(function, actions[-1]))
            dist, belief = function.act(params, belief, torch.as_tensor(observations))
            actions.append(function.controls(dist.mean))
    return [action.numpy() for action in actions]


def outcome(reward=0.0, terminated=False, truncated=False, after=HERE):
    from metarl.policies.belief import Outcome

    def made(function, action):
        count = len(after)
        flags = (torch.tensor(flag).expand(count) for flag in (terminated, truncated))
        rewards = torch.tensor(reward, dtype=torch.float32).expand(count)
        return Outcome(function.outputs(action), rewards, *flags, torch.as_tensor(after))

    return made


def test_a_policy_that_reads_no_rewards_records_its_own_actions():
    first, state = SILENT.predict(HERE)
    second, state = SILENT.predict(2 * HERE, state)
    third, _ = SILENT.predict(HERE, state)
    going_on = outcome()
    expected = by_hand(SILENT, [(HERE, None), (2 * HERE, going_on), (HERE, going_on)])
    for action, wanted in zip((first, second, third), expected, strict=True):
        np.testing.assert_allclose(action, wanted, rtol=0, atol=1e-6)
    assert not np.allclose(first, third)  # the same observation, remembered otherwise


def test_an_end_reaches_the_memory_by_observe_and_may_replace_the_action():
    action, state = SILENT.predict(HERE)
    sent = np.clip(action + 0.05, -0.1, 0.1).astype(np.float32)
    state = SILENT.observe(state, sent, 0.0, HERE, truncated=[True, False, True])
    found, _ = SILENT.predict(2 * HERE, state)

    def told(function, _):
        return outcome(truncated=[True, False, True])(function, torch.as_tensor(sent))

    _, expected = by_hand(SILENT, [(HERE, None), (2 * HERE, told)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    unaware, _ = SILENT.predict(2 * HERE, SILENT.predict(HERE)[1])
    assert (np.abs(found - unaware).max(axis=1) > 1e-4).all()


@pytest.mark.parametrize("policy", [REWARDED, remembering()], ids=["memory", "remembering"])
def test_rewards_ends_and_observations_reach_those_who_read_them(policy):
    assert policy.reads_rewards
    rewards, ends = [1.0, -2.0, 0.5], [False, True, False]
    action, state = policy.predict(HERE)
    state = policy.observe(state, action, rewards, 3 * HERE, ends, [False, False, True])
    found, _ = policy.predict(2 * HERE, state)
    met = outcome(rewards, ends, [False, False, True], 3 * HERE)
    _, expected = by_hand(policy, [(HERE, None), (2 * HERE, met)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", [REWARDED, remembering()], ids=["memory", "remembering"])
def test_a_missing_reward_is_refused_with_the_line_to_add(policy):
    _, state = policy.predict(HERE)
    with pytest.raises(InputError, match=r"outcome .* missing.*state = policy\.observe\(state, ac"):
        policy.predict(HERE, state)
    with pytest.raises(InputError, match=r"metarl\.RobotTrial"):
        policy.predict(HERE, state, [True, False, True])  # the second robot's is missing
    fresh, _ = policy.predict(HERE)
    np.testing.assert_array_equal(policy.predict(HERE, state, [True] * 3)[0], fresh)


def test_a_trial_begins_where_episode_start_is_true_and_only_there():
    _, state = SILENT.predict(HERE)
    actions, after = SILENT.predict(HERE, state, np.array([False, True, False]))
    fresh, went_on = SILENT.predict(HERE)[0], SILENT.predict(HERE, state)[0]
    np.testing.assert_array_equal(actions, np.stack([went_on[0], fresh[1], went_on[2]]))
    assert np.abs(fresh - went_on).max(axis=1).min() > 1e-3
    assert isinstance(after, TrialState)


def test_an_outcome_is_observed_once():
    action, state = REWARDED.predict(HERE[0])
    told = REWARDED.observe(state, action, 1.0, HERE[1])
    with pytest.raises(InputError, match=r"observed already; act first"):
        REWARDED.observe(told, action, 1.0, HERE[1])
    with pytest.raises(InputError, match="state = None: must be what `predict` returned"):
        REWARDED.observe(None, action, 1.0, HERE[1])
    for value in (REWARDED.observe(state, [*action], [1.0], HERE[1:2]),):
        for name, known in told.belief.items():
            assert torch.equal(value.belief[name], known)


def test_a_feed_forward_policy_needs_nothing_of_it():
    policy = MetaPolicy(tiny_policy("navigation"))
    assert not policy.reads_rewards
    action, state = policy.predict(HERE)
    assert state is None
    assert policy.observe(state, action, 0.0, HERE) is None


def test_what_is_not_finite_is_named_and_changes_nothing():
    named = replace(REWARDED.saved, family={"observation_names": ["x", "y"]})
    policy = MetaPolicy(named)
    with pytest.raises(InputError, match=r"observation\[1\] \(y\) = nan: must be finite"):
        policy.predict([0.0, np.nan])
    action, state = policy.predict(HERE[0])
    for arguments, message in {
        (np.nan, (0.0, 0.0)): "reward = nan: must be finite",
        ("x", (0.0, 0.0)): "reward = 'x': must be numbers",
        ((1.0, 2.0), (0.0, 0.0)): "reward = .*: must be one number",
        (0.0, (0.0, np.inf)): r"observation\[1\] \(y\) = inf",
        (0.0, (0.0,)): r"observation of shape \(1,\): the policy reads \(2,\)",
    }.items():
        with pytest.raises(InputError, match=message):
            policy.observe(state, action, *arguments)
    with pytest.raises(InputError, match=r"action\[0\] = nan"):
        policy.observe(state, [np.nan, 0.0], 0.0, HERE[0])
    for flags in (2, None, "no", [[True], [True, False]]):
        with pytest.raises(InputError, match=r"terminated = .*: must be True or False"):
            policy.observe(state, action, 0.0, HERE[0], flags)
    assert policy.observe(state, action, 0.0, HERE[0]).sent is None


def test_a_state_of_another_kind_or_number_is_refused():
    _, state = SILENT.predict(HERE)
    with pytest.raises(InputError, match="state of another policy, or of other than 2 robots"):
        SILENT.predict(HERE[:2], state)
    with pytest.raises(InputError, match=r"state = \{\}: must be what `predict`"):
        SILENT.predict(HERE, {})
    with pytest.raises(InputError, match="the state is of 3 robots"):
        SILENT.observe(state, HERE[:2], 0.0, HERE)


def test_stable_baselines3_evaluates_a_policy_that_reads_no_rewards():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": [0.3, -0.2]}})
    mean, _ = evaluation.evaluate_policy(SILENT, env, n_eval_episodes=3, warn=False)
    observation, state, total, ended = env.reset()[0], None, 0.0, False
    while not ended:  # every episode begins a trial, from one and the same place
        action, state = SILENT.predict(observation, state)
        observation, reward, *ends, _ = env.step(action)
        total, ended = total + reward, any(ends)
    assert mean == pytest.approx(total, rel=1e-4)
    with pytest.raises(InputError, match="outcome of the last action is missing"):
        evaluation.evaluate_policy(REWARDED, env, n_eval_episodes=1, warn=False)
