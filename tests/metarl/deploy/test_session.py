"""A loop of one's own adapts as `adapt` does on an environment, and misuse is one clear line."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from support.helpers import largest_difference
from support.tiny import tiny_policy

import metarl
from metarl import AdaptationSession, Limits
from metarl.deploy import AdaptationNotFiniteError, MetaPolicy
from metarl.deploy.episode_in_progress import UnsafeStartError
from metarl_envs import InputError

UNCAPPED = Limits(max_step_kl=math.inf)
HERE = np.zeros(2)


def tiny(horizon=8):
    return MetaPolicy(tiny_policy("navigation", horizon=horizon))


def robot(goal=(0.3, -0.2)):
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": list(goal)}})
    return env


def drive(session, env):
    """A robot that is no environment to the session."""
    while not session.ready:
        observation, over = env.reset()[0], False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(session.act(observation))
            over = session.observe(reward, observation, terminated, truncated)


@pytest.mark.parametrize("limits", [UNCAPPED, Limits(min_return=-0.6, check_episodes=2)])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_session_gives_the_same_bits_as_the_environment(steps, limits):
    policy = tiny()
    expected = policy.adapt(robot(), episodes=3, steps=steps, seed=4, limits=limits)
    session = AdaptationSession(policy, episodes=3, steps=steps, seed=4, limits=limits)
    drive(session, robot())
    adapted = session.adapt()
    assert adapted.adapted == expected.adapted
    assert largest_difference(adapted.saved.params, expected.saved.params) == 0
    if not limits.check_episodes:
        assert largest_difference(adapted.saved.params, policy.saved.params) > 1e-4
    again = metarl.adapt_from(policy, session.episodes, steps=steps, limits=UNCAPPED)
    assert len(again.episodes) == 3 * steps


def test_misuse_is_one_line_and_loses_nothing():
    session = AdaptationSession(tiny(horizon=3), episodes=1, limits=UNCAPPED)
    with pytest.raises(InputError, match=r"session\.observe: .*session\.act"):
        session.observe(0.0, HERE)
    with pytest.raises(InputError, match=r"session\.adapt: 0 whole episodes"):
        session.adapt()
    session.act(HERE)
    with pytest.raises(InputError, match=r"session\.act: .*session\.observe"):
        session.act(HERE)
    for reward in ("much", [1.0, 2.0], None):
        with pytest.raises(InputError, match="reward = "):
            session.observe(reward, HERE)
    for seen in ([0.0], np.zeros((1, 2)), "here", None):
        with pytest.raises(InputError, match="observation"):
            session.observe(0.0, seen)
    assert session.observe(torch.tensor(-1.0), [0.0, 0.0]) is False  # the step is still there
    with pytest.raises(InputError, match=r"observation\[1\] = nan: must be finite"):
        session.act([0.0, np.nan])
    for _ in range(2):
        session.act(torch.zeros(2))
        over = session.observe(np.float32(-2.0), HERE)
    assert over is True  # at the horizon
    assert session.ready
    assert session.episodes[0].rewards.tolist() == [-1.0, -2.0, -2.0]
    with pytest.raises(InputError, match=r"session\.act: all episodes are there"):
        session.act(HERE)
    session.adapt()


def test_a_session_may_end_early_and_forget_an_episode():
    policy = tiny(horizon=6)
    session = AdaptationSession(policy, episodes=3, limits=UNCAPPED, max_steps=np.int64(4))
    lengths = []

    def episode(steps):
        for _t in range(steps):
            session.act(HERE)
            if session.observe(-1.0, HERE):
                lengths.append(session.episodes[-1].steps)

    episode(4)
    episode(2)
    session.discard_episode()
    episode(4)
    assert lengths == [4, 4]  # `max_steps`; the other one is forgotten
    session.act(HERE)
    session.discard_episode()
    with pytest.warns(UserWarning, match="from 2 whole episodes"):
        adapted = session.adapt()
    assert session.ready
    assert adapted.adapted["collections"][0]["episodes"] == 2
    assert len(adapted.episodes) == 2


def test_limits_hold_in_a_session():
    limits = Limits(
        action_low=-0.02, action_high=0.03, min_return=-5.0, max_step_kl=math.inf,
        unsafe=lambda o: bool(o[0] > 1),
    )  # fmt: skip
    session = AdaptationSession(tiny(horizon=5), episodes=3, limits=limits)
    with pytest.raises(UnsafeStartError, match="unsafe before its first step"):
        session.act([2.0, 0.0])
    actions = [session.act(HERE)]
    assert session.observe(-6.0, HERE)
    actions.append(session.act(HERE))
    assert session.observe(-1.0, [2.0, 0.0])
    actions.append(session.act(HERE))
    assert not session.observe(-1.0, HERE)
    with pytest.raises(UnsafeStartError, match="became unsafe after its last step"):
        session.act([2.0, 0.0])  # another observation than the one after the step
    assert [e.stopped for e in session.episodes] == ["min_return", "unsafe", "unsafe"]
    assert session.ready
    assert -0.02 <= np.min(actions) < np.max(actions) <= np.float32(0.03)
    assert session.adapt().adapted["collections"][0]["stopped"] == 3


def test_a_limit_that_raised_an_error_is_asked_again_of_the_same_observation():
    answers = iter([False, False, np.array([True, False]), True])
    limits = Limits(unsafe=lambda o: next(answers), max_step_kl=math.inf)
    session = AdaptationSession(tiny(horizon=5), episodes=2, limits=limits)
    session.act(HERE)
    session.observe(-1.0, HERE)
    with pytest.raises(InputError, match="unsafe = "):
        session.act([0.1, 0.0])  # neither safe nor unsafe
    with pytest.raises(UnsafeStartError):
        session.act([0.1, 0.0])
    assert [(e.steps, e.stopped) for e in session.episodes] == [(1, "unsafe")]


def test_a_step_whose_limit_raised_an_error_is_counted_once():
    answers = iter([False, np.array([True, False]), True])
    limits = Limits(unsafe=lambda o: next(answers), max_step_kl=math.inf)
    session = AdaptationSession(tiny(horizon=5), episodes=2, limits=limits)
    session.act(HERE)
    with pytest.raises(InputError, match="unsafe = "):
        session.observe(-1.0, HERE)
    assert session.observe(-1.0, HERE)
    assert session.episodes[0].rewards.tolist() == [-1.0]


def test_what_diverged_is_left_out_and_not_lost():
    session = AdaptationSession(tiny(horizon=2), episodes=2, limits=UNCAPPED)
    session.act(HERE)
    assert session.observe(0.0, [np.inf, 0.0])
    session.act(HERE)
    with pytest.raises(AdaptationNotFiniteError) as told:
        session.observe(math.nan, HERE)
    assert [e.ended for e in told.value.episodes] == ["diverged", "diverged"]


def test_a_callback_is_told_and_may_raise():
    lines = []

    def tell(record):
        lines.append(str(record))
        raise ConnectionError("the log is full")

    session = AdaptationSession(tiny(horizon=1), episodes=2, limits=UNCAPPED, on_episode=tell)
    for _ in range(2):
        session.act(HERE)
        with pytest.raises(ConnectionError):
            session.observe(-1.0, HERE)
    assert lines == [f"episode {i} of 2: return -1.0, 1 steps" for i in (1, 2)]
    assert session.ready
    assert len(session.adapt().episodes) == 2


@pytest.mark.parametrize(
    ("name", "bad"),
    [("episodes", 0), ("steps", "two"), ("seed", -1), ("max_steps", 0), ("limits", None),
     ("on_episode", 3)],
)  # fmt: skip
def test_sizes_that_make_no_sense_are_refused(name, bad):
    with pytest.raises(InputError, match=f"{name} = "):
        AdaptationSession(tiny(), **{"limits": UNCAPPED, name: bad})
