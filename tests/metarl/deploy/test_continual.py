"""A stream of episodes on a robot that changes, and changes back."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from support.point_robot import Robot
from support.tiny import tiny_policy

import metarl
from metarl import ContinualAdapter, Limits
from metarl.adaptation.losses import inner_batches
from metarl.deploy import MetaPolicy, continual
from metarl.deploy.check import off_usual, worse_than_probing
from metarl.errors import NonFiniteUpdateError
from metarl.methods.setup import inner_loop_of
from metarl.policies.params import expand
from metarl.rollouts.advantages import policy_batch
from metarl.rollouts.data import joined_episodes
from metarl_envs import InputError

BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"


@pytest.fixture
def policy():
    return MetaPolicy(tiny_policy("navigation", horizon=5))


def test_the_return_recovers_after_every_change_of_the_robot():
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    stream, phases = ContinualAdapter(metarl.load(BUNDLED), window=5, seed=1), []
    for direction in (1, -1, 1):
        env.reset(options={"task": {"direction": direction}})
        phases.append([stream.episode(env) for _ in range(13)])
    for phase, met in enumerate(phases):
        probing = 5 if phase == 0 else 7  # in the other phases the change is met first, twice
        assert [e.kind for e in met] == ["act"] * (probing - 5) + ["probe"] * 5 + ["act"] * (
            13 - probing
        )
        assert [e.index for e in met if e.adapted] == [13 * phase + probing - 1]
        # Random goals would end near 0; the other direction's policy at about -400.
        assert min(e.returned for e in met[probing:]) > 250
        assert [bool(e.change) for e in met] == [False, phase > 0] + [False] * 11
    assert phases[1][0].returned < -250
    assert phases[2][0].returned < -250


@pytest.mark.parametrize("steps", [1, 2])
def test_adapting_anew_starts_from_the_meta_policy_on_its_last_probes(policy, monkeypatch, steps):
    collected = []

    def recording(function, params, episodes, horizon):
        made = original(function, params, episodes, horizon)
        collected.append((made.rollouts, {n: v.clone() for n, v in params.items()}))
        return made

    original = continual.collected
    monkeypatch.setattr(continual, "collected", recording)
    robot = Robot()
    stream = ContinualAdapter(policy, window=3, steps=steps, probe_every=2)
    kinds = [stream.episode(robot).kind for _ in range(3 * steps + 2 + steps + 1)]
    assert kinds == ["probe"] * 3 * steps + ["act"] * 2 + ["probe"] * steps + ["act"]
    how, start = inner_loop_of(policy.saved.config, 1.0), expand(policy.saved.params, 1)
    # The first of step 0's three probes made room for the one that came after two acting episodes.
    windows = [[collected[1], collected[2], collected[3 * steps]]]
    if steps == 2:
        windows.append([collected[4], collected[5], collected[7]])
    params = how.adaptation.begin(start)
    for k, window in enumerate(windows):
        assert all(torch.equal(window[-1][1][name], params[name]) for name in start)
        batch = policy_batch(
            joined_episodes([rollouts for rollouts, _ in window]), how.discount, how.gae_lambda
        )
        form = "ratio" if k else how.inner_loss
        (step,) = inner_batches(policy.saved.policy, [batch], form)
        params = how.adaptation.step(params, step, k)
    for name, value in stream.policy.saved.params.items():
        torch.testing.assert_close(value, params[name][0], atol=1e-6, rtol=0)
    assert stream.policy.adapted["steps"] == steps


def test_before_the_first_adaptation_the_policy_is_the_meta_policy(policy):
    stream = ContinualAdapter(policy, window=2)
    assert stream.policy.adapted["steps"] == 0
    stream.episode(Robot())
    for name, value in policy.saved.params.items():
        assert torch.equal(stream.policy.saved.params[name], value)


def test_a_robot_that_breaks_is_met_with_the_meta_policy(policy):
    robot = Robot(worse_from=9, penalty=20.0)
    stream = ContinualAdapter(policy, window=2)
    met = [stream.episode(robot) for _ in range(14)]
    (broken,) = [e for e in met if e.change]
    assert broken.index == 10  # the second episode on the broken robot, after seven sound ones
    assert "was usual, 2 episodes in a row" in broken.change
    assert [e.kind for e in met] == ["probe"] * 2 + ["act"] * 9 + ["probe"] * 2 + ["act"]


PROBES = [-5.0, 5.0, 0.0, 3.0, -3.0]


@pytest.mark.parametrize(
    ("returned", "acted", "change"),
    [
        (-400.0, [400, 390, 410, 405, 395], "return -400.0, where 400.0 was usual"),
        (800.0, [400, 390, 410, 405, 395], "return 800.0, where 400.0 was usual"),
        (370.0, [400, 390, 410, 405, 395], ""),
        # A few episodes after a change do not hide it.
        (-400.0, [400, 390, 410, -400, -405], "return -400.0, where 390.0 was usual"),
        # Returns that repeat exactly: a twentieth of the gain is the least that counts.
        (300.0, [400, 400, 400, 400, 400], ""),
        (200.0, [400, 400, 400, 400, 400], "return 200.0, where 400.0 was usual"),
        (-400.0, [400, 390], ""),  # too few to tell
    ],
)
def test_a_return_is_off_where_noise_does_not_explain_it(returned, acted, change):
    assert off_usual(returned, acted, PROBES, alarm=8.0) == change


@pytest.mark.parametrize(
    ("acted", "change"),
    [
        # s = 4.123, t = 3.747 for four degrees of freedom, sqrt(1/5 + 1/3): 11.28.
        ([-30, -20, -11.5], "return -20.0, worse than the 0.0 before adapting"),
        ([-11.3, -11.3, -11.3], "return -11.3, worse than the 0.0 before adapting"),
        ([-11.2, -11.2, -11.2], ""),
        ([-900, 1, 2], ""),  # one stumble
        ([-30, -30], ""),
    ],
)
def test_acting_is_worse_than_probing_by_more_than_the_probes_noise(acted, change):
    assert worse_than_probing(acted, PROBES) == change


class Scripted(Robot):
    """Episodes of one step and of the returns that it is told, by the action's sign of a policy."""

    def __init__(self, returns):
        super().__init__()
        self.returns = returns

    def step(self, action):
        observation, _, *rest = super().step(action)
        given = self.returns(self.resets - 1) if self.lengths[-1] == 1 else 0.0
        return observation, given, *rest


def lives(policy, returns, episodes, window=5):
    stream, robot = ContinualAdapter(policy, window=window), Scripted(returns)
    return [stream.episode(robot) for _ in range(episodes)]


def alarms(met):
    return [e.index for e in met if e.change]


def test_a_robot_that_stumbles_in_a_tenth_of_its_episodes_is_the_same_robot(policy):
    """Two alarms in 200 episodes at most, with stumbles of ten standard deviations."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=200) - 10 * (rng.random(200) < 0.1)
        gain = np.r_[np.zeros(5), np.full(195, 5.0)]  # what adapting is worth
        met = lives(policy, lambda i, r=noise + gain: r[i], 200)
        found.append(len(alarms(met)))
    assert np.mean(found) <= 2


def test_noise_alone_is_hardly_ever_taken_for_a_change(policy):
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=200)
        met = lives(policy, lambda i, r=noise: r[i], 200)
        found.append(len(alarms(met)))
    assert np.mean(found) <= 1  # adapting is worth nothing here, the hardest case


def test_acting_episodes_that_diverge_in_a_row_are_a_change(policy):
    def returns(i):
        return np.nan if i in (8, 10, 11) else 1.0 + 0.1 * (i % 3)

    met = lives(policy, returns, 20)
    assert alarms(met) == [11]
    assert met[11].change == "diverged, 2 episodes in a row"
    assert [e.kind for e in met] == ["probe"] * 5 + ["act"] * 7 + ["probe"] * 5 + ["act"] * 3


def test_a_robot_that_diverges_for_good_is_no_longer_acted_on(policy):
    stream = ContinualAdapter(policy, window=5)
    robot = Scripted(lambda i: np.nan if i >= 15 else float(i % 3))
    with pytest.raises(NonFiniteUpdateError, match="every episode diverged"):
        for _ in range(40):
            stream.episode(robot)
    assert robot.resets == 15 + 2 + 5  # two of acting, and a window of probes


def test_where_acting_stays_worse_than_probing_it_settles_on_the_meta_policy(policy):
    """Adapting does harm: the adapted policy returns -50, the meta-policy 0."""
    stream = ContinualAdapter(policy, window=5)
    acting = []

    def returns(i):
        return 0.1 * (i % 5) - 50.0 * (acting[-1] > 0)

    robot, met = Scripted(returns), []
    for _ in range(60):
        acting.append(0 if stream._missing else len(stream._params) - 1)
        met.append(stream.episode(robot))
    kinds = ["probe"] * 5 + ["act"] * 3
    assert [e.kind for e in met] == kinds * 2 + ["act"] * 44
    assert [e.settled for e in met] == [False] * 15 + [True] * 45
    assert alarms(met) == [7, 15]
    assert [e.step for e in met[16:]] == [0] * 44
    assert stream.policy.adapted["steps"] == 0


def test_it_leaves_the_meta_policy_when_the_robot_changes(policy):
    stream = ContinualAdapter(policy, window=5)
    acting = []

    def returns(i):
        return 0.1 * (i % 5) + (20.0 if i >= 30 else -50.0) * (acting[-1] > 0) + 9.0 * (i >= 30)

    robot, met = Scripted(returns), []
    for _ in range(50):
        acting.append(0 if stream._missing else len(stream._params) - 1)
        met.append(stream.episode(robot))
    assert [e.settled for e in met] == [False] * 15 + [True] * 16 + [False] * 19
    assert alarms(met) == [7, 15, 31]
    assert [e.kind for e in met[32:]] == ["probe"] * 5 + ["act"] * 13
    assert [e.step for e in met[37:]] == [1] * 13


def test_an_error_of_the_environment_leaves_the_stream_as_it_was(policy):
    class Once(Robot):
        failed = False

        def step(self, action):
            if self.resets in (3, 6) and not self.failed:
                self.failed = True
                raise ConnectionError("no answer")
            return super().step(action)

        def reset(self, **how):
            self.failed = False if self.resets + 1 == 6 else self.failed
            return super().reset(**how)

    robot, stream, met = Once(), ContinualAdapter(policy, window=3), []
    for _ in range(7):
        try:
            met.append(stream.episode(robot).kind)
        except InputError:
            met.append("error")
    assert met == ["probe"] * 2 + ["error", "probe", "act", "error", "act"]


class Broken(Robot):
    """Sends no number in its first `times` episodes."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def step(self, action):
        observation, *rest = super().step(action)
        return observation * (np.nan if self.resets <= self.times else 1.0), *rest


def test_a_probe_that_failed_is_made_again(policy):
    robot, stream = Broken(2), ContinualAdapter(policy, window=3)
    met = [stream.episode(robot) for _ in range(6)]
    assert [e.kind for e in met] == ["probe"] * 5 + ["act"]
    assert [np.isnan(e.returned) for e in met] == [True, True, False, False, False, False]
    stream = ContinualAdapter(policy, window=3)
    robot = Broken(3)
    with pytest.raises(NonFiniteUpdateError, match="step 1 is not finite"):
        for _ in range(3):
            stream.episode(robot)


def test_limits_hold_in_every_episode(policy):
    robot, limits = Robot(), Limits(action_high=0.01, min_return=-0.1, max_step_kl=1e-4)
    stream = ContinualAdapter(policy, window=2, limits=limits)
    met = [stream.episode(robot) for _ in range(4)]
    assert [e.kind for e in met] == ["probe", "probe", "act", "act"]
    assert all(e.stopped for e in met)
    assert robot.lengths == [1] * 4  # the goal is further away than 0.1 m
    assert np.array(robot.sent).max() <= 0.01 + 1e-9
    assert stream.policy.predict(np.zeros((1, 2)))[0].max() <= 0.01 + 1e-9


def test_the_seed_is_given_to_the_first_reset_and_fixes_the_stream(policy):
    class Seeded(Robot):
        def reset(self, *, seed=None, options=None):
            self.seeds = [*getattr(self, "seeds", []), seed]
            return super().reset(seed=seed, options=options)

    lives = []
    for seed in (7, 7, 8):
        robot = Seeded()
        stream = ContinualAdapter(policy, window=2, seed=seed)
        lives.append([stream.episode(robot).returned for _ in range(4)])
        assert robot.seeds == [seed, None, None, None]
    assert lives[0] == lives[1] != lives[2]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"window": 1}, "window = 1: must be at least 2"),
        ({"window": 2.5}, "window = 2.5: must be a whole number"),
        ({"alarm": "loud"}, "alarm = 'loud': must be a number"),
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"probe_every": -1}, "probe_every = -1: must be at least 0"),
        ({"alarm": 0.0}, "alarm = 0.0: must be greater than 0"),
        ({"limits": Limits(good_return=1.0)}, "are for a single adaptation"),
        ({"limits": Limits(check_episodes=2)}, "are for a single adaptation"),
        ({"limits": Limits(action_high=3.0)}, "within the action space"),
        ({"limits": None}, "limits = None: must be metarl.Limits"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_values_out_of_range_are_refused(policy, wrong, line):
    with pytest.raises(InputError, match=line):
        ContinualAdapter(policy, **wrong)


def test_other_spaces_and_adapted_policies_are_refused(policy):
    other = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    with pytest.raises(InputError, match="the policy reads a Box"):
        ContinualAdapter(policy).episode(other)
    adapted = policy.adapt(Robot(), episodes=2)
    with pytest.raises(InputError, match="starts from a meta-policy"):
        ContinualAdapter(adapted)
