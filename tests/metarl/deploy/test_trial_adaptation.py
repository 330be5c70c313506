"""A policy with a memory is adapted by living through the episodes as one trial, in every way."""

import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from support.point_robot import Failing, Robot
from support.tiny_memory import tiny_memory

import metarl
from metarl import AdaptationSession, ContinualAdapter, Limits, RobotTrial
from metarl.adaptation.gradient import GradientStep
from metarl.deploy import AdaptationInterruptedError, MetaPolicy, adapt_to_task
from metarl.deploy.collected import belief_after_episode
from metarl.methods.setup import family_of
from metarl.policies.params import expand
from metarl_envs import InputError

GOAL = {"goal": (0.3, -0.2)}
CLOSE = {"rtol": 0, "atol": 1e-5}


def robot(horizon=6):
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0", max_episode_steps=horizon)
    env.reset(options={"task": GOAL})
    return env


def lived(policy, env, episodes):
    """Belief after a trial of whole episodes, and returns, by the stepping object."""
    trial, returns = RobotTrial(policy), []
    for _ in range(episodes):
        observation, over = env.reset()[0], False
        returns.append(0.0)
        while not over:
            observation, reward, *ends, _ = env.step(trial.act(observation))
            trial.observe(reward, observation, *ends)
            returns[-1] += reward
            over = any(ends)
    return trial.policy.saved.belief, returns


def same_belief(one, other, **tolerance):
    assert one.keys() == other.keys() == {"hidden", "previous"}
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **(tolerance or CLOSE))


@pytest.mark.parametrize("reads", [False, True])
def test_every_way_to_adapt_is_one_trial_by_the_mean_action(reads):
    policy, env = MetaPolicy(tiny_memory(observe_reward=reads)), robot()
    expected, returns = lived(policy, env, 3)
    adapted = policy.adapt(env, episodes=3)
    session = AdaptationSession(policy, episodes=3)
    while not session.ready:
        observation, over = env.reset()[0], False
        while not over:
            observation, reward, *ends, _ = env.step(session.act(observation))
            over = session.observe(reward, observation, *ends)
    sent = [
        {name: getattr(episode, name) for name in ("observations", "actions", "rewards")}
        for episode in adapted.episodes
    ]
    simulated = adapt_to_task(
        policy.saved, family_of(policy.saved.config).make_task(GOAL), episodes=3
    )
    stream = ContinualAdapter(policy)
    met = [stream.episode(env) for _ in range(3)]
    ways = [adapted, session.adapt(), metarl.adapt_from(policy, sent), stream.policy]
    for one in [*(way.saved for way in ways), simulated.saved]:
        same_belief(one.belief, expected)
        assert all(torch.equal(one.params[name], p) for name, p in policy.saved.params.items())
        assert one.metadata["adapted"]["trial"]["episodes"] == 3
        assert one.metadata["adapted"]["trial"]["steps"] == 18
    for one in (adapted.adapted, simulated.saved.metadata["adapted"]):
        assert one["trial"]["returns"] == pytest.approx(returns, rel=1e-4)
    assert [one.returned for one in met] == pytest.approx(returns, rel=1e-4)
    assert len({round(value, 3) for value in returns}) == 3  # the memory changes what is done
    assert simulated.returns[0] == pytest.approx(returns[0], rel=1e-4)
    fourth = lived(adapted, env, 1)[1]
    assert simulated.returns[1] == pytest.approx(fourth[0], rel=1e-4)


def test_the_trial_goes_on_where_an_adapted_policy_is_adapted_again(tmp_path):
    policy, env = MetaPolicy(tiny_memory()), robot()
    expected, _ = lived(policy, env, 5)
    first = policy.adapt(env, episodes=2)
    again = metarl.load(first.save(tmp_path / "known")).adapt(env, episodes=3)
    same_belief(again.saved.belief, expected)
    assert str(again).splitlines()[1].endswith("adapts while it acts")
    assert "adapted in a trial of 3 episodes, 18 steps: return" in str(again)


def test_a_stop_for_safety_is_an_end_of_the_episode_to_the_memory():
    policy = MetaPolicy(tiny_memory(observe_reward=True))
    limits = Limits(min_return=-1.0)
    adapted = policy.adapt(Robot(), episodes=2, limits=limits)
    assert {episode.stopped for episode in adapted.episodes} == {"min_return"}
    trial = RobotTrial(policy)
    for episode in adapted.episodes:
        for t in range(episode.steps):
            trial.act(episode.observations[t])
            last = t == episode.steps - 1
            trial.observe(episode.rewards[t], episode.observations[t + 1], truncated=last)
    same_belief(adapted.saved.belief, trial.policy.saved.belief)


def test_what_an_error_leaves_is_the_trial_until_then():
    policy = MetaPolicy(tiny_memory())

    def failing():
        """In its third episode, since naming the task is a reset too."""
        env = gymnasium.wrappers.TimeLimit(Failing(OSError("lost"), episode=4), 6)
        env.reset(options={"task": GOAL})
        return env

    expected, _ = lived(policy, robot(), 2)
    with pytest.raises(AdaptationInterruptedError) as caught:
        policy.adapt(failing(), episodes=4)
    assert len(caught.value.policy.episodes) == 2
    same_belief(caught.value.policy.saved.belief, expected)
    stream = ContinualAdapter(policy)
    env = failing()
    stream.episode(env)
    stream.episode(env)
    with pytest.raises(InputError, match="lost"):
        stream.episode(env)
    same_belief(stream.policy.saved.belief, expected)


def test_an_episode_that_diverged_leaves_no_trace():
    class Poisoned(Robot):
        def step(self, action):
            observation, *rest = super().step(action)
            return (observation * np.nan if self.resets == 3 else observation), *rest

    policy = MetaPolicy(tiny_memory())
    adapted = policy.adapt(Poisoned(), episodes=3)  # its second reset is the first episode's
    assert [episode.diverged for episode in adapted.episodes].count(True) == 1
    whole = [episode for episode in adapted.episodes if not episode.diverged]
    same_belief(metarl.adapt_from(policy, whole).saved.belief, adapted.saved.belief)


def test_a_check_that_takes_back_forgets_the_trial():
    policy = MetaPolicy(tiny_memory())
    env = Robot(worse_from=3, penalty=5.0)
    checked = policy.adapt(env, episodes=2, limits=Limits(check_episodes=2))
    assert checked.adapted["limits"]["check"]["rolled_back"]
    begun = {name: value[0] for name, value in policy.saved.begin(1).items()}
    same_belief(checked.saved.belief, begun, rtol=0, atol=0)


def test_limits_hold_and_no_simulation_is_needed(monkeypatch):
    monkeypatch.setattr("metarl.deploy.gradient_step.training_step_kl", None)
    policy = MetaPolicy(tiny_memory())
    adapted = policy.adapt(robot(), episodes=2, limits=Limits(action_low=-0.01, action_high=0.02))
    for episode in adapted.episodes:
        assert episode.actions.min() >= np.float32(-0.01)
        assert episode.actions.max() <= np.float32(0.02)
    assert adapted.adapted["step_kl"] == [0.0]
    assert np.abs(adapted.predict([9.0, 9.0])[0]).max() <= np.float32(0.02)


def test_actions_of_another_controller_are_read_as_they_were_sent():
    policy = MetaPolicy(tiny_memory())
    actions = np.array([[0.1, 0.05], [-0.1, 0.02]])
    log = {"observations": np.zeros((3, 2)), "actions": actions, "rewards": [0, 0]}
    adapted = metarl.adapt_from(policy, [log])
    last = adapted.saved.belief["previous"]
    np.testing.assert_allclose(last[:2] * 0.1, [-0.1, 0.02], atol=1e-7)  # actions are +-0.1
    assert last[-1] == 1


@pytest.mark.parametrize("steps", [1, 2])
def test_a_gradient_step_on_top_is_taken_on_the_trial_which_goes_on(steps):
    uncapped = Limits(max_step_kl=math.inf)
    saved = tiny_memory(inner=GradientStep(0.05), action_scale=10.0, observe_reward=True)
    policy, env = MetaPolicy(saved), robot()
    adapted = policy.adapt(env, episodes=3, steps=steps, seed=2, limits=uncapped)
    assert adapted.adapted["step_kl"][0] > 1e-4
    belief, params = saved.begin(1), expand(adapted.saved.params, 1)
    belief = expand(belief, 1)
    for episode in adapted.episodes:
        belief = belief_after_episode(saved.policy, params, belief, episode)
    same_belief(adapted.saved.belief, {n: v[0, 0] for n, v in belief.items()})
    simulated = adapt_to_task(
        saved, family_of(saved.config).make_task(GOAL), episodes=3, steps=steps, seed=2
    )
    for name, value in simulated.params.items():
        torch.testing.assert_close(adapted.saved.params[name], value, rtol=0, atol=2e-5)
    same_belief(adapted.saved.belief, simulated.saved.belief, rtol=0, atol=5e-5)
    session = AdaptationSession(policy, episodes=3, steps=steps, seed=2, limits=uncapped)
    while not session.ready:
        observation, over = env.reset()[0], False
        while not over:
            observation, reward, *ends, _ = env.step(session.act(observation))
            over = session.observe(reward, observation, *ends)
    sent = [replace(episode, outputs=None) for episode in adapted.episodes]
    for one in (session.adapt(), metarl.adapt_from(policy, sent, steps=steps, limits=uncapped)):
        for name, value in adapted.saved.params.items():
            torch.testing.assert_close(one.saved.params[name], value, rtol=0, atol=2e-5)


@pytest.mark.parametrize("given", [{"window": 5}, {"steps": 1}, {"probe_every": 3}])
def test_a_stream_of_such_a_policy_needs_no_probes_and_says_so(given):
    with pytest.raises(
        InputError, match=f"{next(iter(given))} = .*adapts at every step.*no probes"
    ):
        ContinualAdapter(MetaPolicy(tiny_memory()), **given)


def test_a_stream_adapts_in_every_episode_and_goes_on_after_saving(tmp_path):
    policy, env = MetaPolicy(tiny_memory()), robot()
    stream = ContinualAdapter(policy, limits=Limits(action_high=0.05))
    met = [stream.episode(env) for _ in range(4)]
    assert [(e.kind, e.adapted, e.change, e.index) for e in met] == [
        ("act", True, "", i) for i in range(4)
    ]
    assert max(e.episode.actions.max() for e in met) <= np.float32(0.05)
    resumed = ContinualAdapter(metarl.load(stream.policy.save(tmp_path / "known")))
    assert resumed.episode(env).returned == pytest.approx(stream.episode(env).returned, rel=1e-4)


def test_the_summary_in_simulation_shows_the_trial():
    saved = tiny_memory()
    summary = adapt_to_task(saved, family_of(saved.config).make_task(GOAL), episodes=3).summary()
    assert "gradient steps" not in summary
    assert "adapted by it, in one trial" in summary
    (line,) = [line for line in summary.splitlines() if "returns of the trial" in line]
    assert line.count(",") == 2
