"""Adapting from episodes that are there already is the arithmetic of adapting on the robot."""

import math
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from support.helpers import largest_difference
from support.tiny import tiny_policy

import metarl
from metarl import Episode, Limits
from metarl.deploy import AdaptationNotFiniteError, MetaPolicy
from metarl.deploy.limits import NO_LIMITS
from metarl.deploy.logged import cut_moments, with_outputs
from metarl.policies.params import expand
from metarl.runs.checkpoint import save_policy
from metarl_envs import InputError

UNCAPPED = Limits(max_step_kl=math.inf)


def robot(goal=(0.3, -0.2)):
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": list(goal)}})
    return env


def tiny(horizon=12, **changes):
    saved = tiny_policy("navigation", horizon=horizon)
    return MetaPolicy(replace(saved, config=replace(saved.config, **changes)))


@pytest.fixture(scope="module")
def cheetah():
    """A policy whose actions are seldom cut, and what it is after three episodes."""
    policy = MetaPolicy(tiny_policy("half-cheetah-direction", horizon=40))
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    return policy, policy.adapt(env, episodes=3)


def as_log(episode, **changes):
    """A robot's log: without outputs before scaling."""
    names = ("observations", "actions", "rewards", "terminated", "stopped")
    return {name: getattr(episode, name) for name in names} | changes


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("inner_loss", ["log_prob", "ratio", "clipped"])
def test_recorded_episodes_give_the_same_bits_as_the_robot(tmp_path, inner_loss, steps):
    policy = tiny(inner_loss=inner_loss)
    adapted = policy.adapt(robot(), episodes=4, steps=steps, seed=3)
    path = metarl.save_episodes(tmp_path / "log.npz", adapted.episodes)
    again = metarl.adapt_from(policy, metarl.load_episodes(path), steps=steps)
    assert len(adapted.episodes) == 4 * steps
    assert largest_difference(policy.saved.params, adapted.saved.params) > 1e-3
    assert largest_difference(adapted.saved.params, again.saved.params) == 0
    assert again.adapted == adapted.adapted | {"seed": None}
    assert [e.returned for e in again.episodes] == [e.returned for e in adapted.episodes]


@pytest.mark.parametrize("form", [np.array, lambda x: x.tolist(), torch.tensor])
def test_a_log_of_actions_gives_the_same_up_to_rounding(cheetah, form):
    policy, adapted = cheetah
    arrays = ("observations", "actions", "rewards")
    log = [as_log(e, **{n: form(getattr(e, n)) for n in arrays}) for e in adapted.episodes]
    assert largest_difference(policy.saved.params, adapted.saved.params) > 1e-2
    assert (
        largest_difference(adapted.saved.params, metarl.adapt_from(policy, log).saved.params) < 1e-5
    )


def test_stops_count_as_they_did_on_the_robot():
    policy = tiny()
    limits = Limits(min_return=-0.9, action_low=-0.08)
    adapted = policy.adapt(robot((0.4, 0.4)), episodes=4, seed=3, limits=limits)
    assert {e.stopped for e in adapted.episodes} == {"min_return"}
    bounds = Limits(action_low=-0.08)
    again = metarl.adapt_from(policy, adapted.episodes, limits=bounds)
    assert largest_difference(adapted.saved.params, again.saved.params) == 0
    unstopped = [replace(e, stopped="", truncated=True) for e in adapted.episodes]
    other = metarl.adapt_from(policy, unstopped, limits=bounds)
    assert largest_difference(adapted.saved.params, other.saved.params) > 1e-6


def test_a_folder_will_do_and_a_good_return_ends_it(tmp_path):
    policy = tiny()
    saved = policy.saved
    folder = save_policy(tmp_path / "policy", saved)
    log = policy.adapt(robot(), episodes=2).episodes
    by_folder = metarl.adapt_from(str(folder), log)
    assert (
        largest_difference(by_folder.saved.params, metarl.adapt_from(policy, log).saved.params) == 0
    )
    good = metarl.adapt_from(policy, log, limits=Limits(good_return=-1e6))
    assert good.adapted["limits"]["reached_good_return"]
    assert largest_difference(good.saved.params, policy.saved.params) == 0


@pytest.mark.parametrize("stopped", ["", "by hand"])
def test_episodes_that_diverged_are_left_out(stopped):
    policy = tiny()
    log = list(policy.adapt(robot(), episodes=3).episodes)
    with_bad = [*log, replace(log[0], diverged=True, stopped=stopped)]
    found = metarl.adapt_from(policy, with_bad)
    assert found.adapted["collections"][0]["diverged"] == 1
    assert (
        largest_difference(found.saved.params, metarl.adapt_from(policy, log).saved.params) < 1e-6
    )
    with pytest.raises(InputError, match="1 given, and none to adapt from"):
        metarl.adapt_from(policy, with_bad[-1:])
    with pytest.raises(InputError, match="0 given, and none to adapt from"):
        metarl.adapt_from(policy, [])


def test_longer_episodes_are_cut_at_the_horizon():
    short, long = tiny(horizon=6), tiny(horizon=12)
    log = long.adapt(robot(), episodes=3).episodes
    found = metarl.adapt_from(short, log)
    assert found.adapted["collections"][0]["steps"] == 6
    cut = [e.first_steps(6) for e in log]
    assert largest_difference(found.saved.params, metarl.adapt_from(short, cut).saved.params) == 0


def test_parts_of_several_steps_are_equal_or_said():
    policy = tiny()
    log = policy.adapt(robot(), episodes=3, steps=2, seed=1).episodes
    with pytest.raises(InputError, match=r"5 given, which 2 gradient steps.*episodes_per_step"):
        metarl.adapt_from(policy, log[:5], steps=2)
    found = metarl.adapt_from(policy, log[:5], steps=2, episodes_per_step=np.int64(3))
    assert [c["episodes"] for c in found.adapted["collections"]] == [3, 2]
    for size in (2, 5, 6):
        with pytest.raises(InputError, match=f"2 gradient steps on {size} each take"):
            metarl.adapt_from(policy, log[:5], steps=2, episodes_per_step=size)
    with pytest.raises(InputError, match=r"episodes_per_step = 2\.5: must be a whole number"):
        metarl.adapt_from(policy, log, steps=2, episodes_per_step=2.5)
    with pytest.raises(InputError, match="max_steps = 0: must be at least 1"):
        metarl.adapt_from(policy, log, max_steps=0)


@pytest.mark.parametrize(
    ("name", "value"), [("unsafe", bool), ("min_return", -1.0), ("check_episodes", 2)]
)
def test_limits_that_need_a_moving_robot_are_refused(name, value):
    log = tiny().adapt(robot(), episodes=2).episodes
    with pytest.raises(InputError, match=rf"limits\.{name}: .*leave it out"):
        metarl.adapt_from(tiny(), log, limits=Limits(**{name: value}))


def test_mean_actions_are_refused_and_another_policy_s_warned_of(cheetah):
    policy, adapted = cheetah

    def log(change):
        return [as_log(e, actions=change(e.observations[:-1], e.actions)) for e in adapted.episodes]

    def mean(seen):
        return policy.predict(seen)[0]

    with pytest.raises(InputError, match=r"actions: .*deterministic=False"):
        metarl.adapt_from(policy, log(lambda seen, _: mean(seen)))
    for share in (0.2, 2.5):
        wrong = log(lambda seen, acted, share=share: mean(seen) + share * (acted - mean(seen)))
        with pytest.warns(UserWarning, match=r"from this policy: .*actions\[:, 0\] by"):
            metarl.adapt_from(policy, wrong)
    with pytest.warns(UserWarning, match=r"this policy: .*actions\[:, 5\]"):
        metarl.adapt_from(policy, log(lambda seen, acted: np.sin(9 * acted)))
    second = [*adapted.episodes, *log(lambda seen, acted: np.sin(9 * acted))]
    with pytest.warns(UserWarning, match="after the gradient step before them"):
        metarl.adapt_from(policy, second, steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampled = log(lambda seen, _: policy.predict(seen, deterministic=False)[0])
        metarl.adapt_from(policy, sampled)
        metarl.adapt_from(policy, adapted.episodes)
        nearly_all_cut = tiny(horizon=40)  # bounds at one standard deviation
        episodes = nearly_all_cut.adapt(robot(), episodes=3).episodes
        metarl.adapt_from(nearly_all_cut, [as_log(e) for e in episodes])
        with pytest.raises(InputError, match="without its noise"):
            still = nearly_all_cut.predict(episodes[0].observations[:-1])[0]
            metarl.adapt_from(nearly_all_cut, [as_log(episodes[0], actions=still)])


def test_moments_of_a_cut_normal_number_are_those_of_many():
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for low, high in ((-1.0, 1.0), (-0.5, 2.0), (1.0, 3.0), (-9.0, 9.0)):
        mean, variance = cut_moments(torch.tensor(low).double(), torch.tensor(high).double())
        cut = z.clamp(low, high)
        assert float(mean) == pytest.approx(float(cut.mean()), abs=0.005)
        assert float(variance) == pytest.approx(float(cut.var()), abs=0.005)


def test_an_action_that_was_cut_counts_as_the_mean_of_what_lies_beyond():
    saved = tiny_policy("navigation", horizon=4000)
    policy = replace(saved.policy, control_limits=((-0.1, -0.1), (0.05, 0.1)))
    mean = policy.mean(saved.params, torch.zeros(1, 2))[0].double().numpy()  # std is 1
    drawn = mean + np.random.default_rng(0).normal(size=(4000, 2))
    controls = policy.controls(torch.tensor(drawn)).numpy()
    episode = Episode(np.zeros((4001, 2)), controls, np.zeros(4000))
    found = with_outputs(policy, expand(saved.params, 1), episode, {}).outputs
    (low, _), (high, _) = policy.output_bounds()
    assert (float(low), float(high)) == pytest.approx((-1.0, 0.5))
    above, below = drawn[:, 0] > 0.5, drawn[:, 0] < -1
    whole = ~above & ~below
    assert 0.3 < whole.mean() < 0.7
    np.testing.assert_allclose(found[whole, 0], drawn[whole, 0], atol=1e-5)
    for cut, bound, sign in ((above, 0.5, 1), (below, -1.0, -1)):
        assert len(np.unique(found[cut, 0])) == 1
        assert found[cut, 0][0] == pytest.approx(drawn[cut, 0].mean(), abs=0.05)
        z = sign * (bound - mean[0])  # E[x | x > z] = phi(z) / (1 - Phi(z))
        density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        beyond = density / (0.5 * math.erfc(z / math.sqrt(2)))
        assert found[cut, 0][0] == pytest.approx(mean[0] + sign * beyond, abs=1e-6)


def test_a_step_that_is_not_finite_keeps_the_episodes():
    policy = tiny()
    log = [replace(e, rewards=e.rewards * 1e300) for e in policy.adapt(robot()).episodes]
    with pytest.raises(AdaptationNotFiniteError, match="step 1 is not finite") as told:
        metarl.adapt_from(policy, log, limits=UNCAPPED)
    assert len(told.value.episodes) == 5


def test_other_things_are_refused():
    log = tiny().adapt(robot(), episodes=2).episodes
    with pytest.raises(InputError, match="limits = 3"):
        metarl.adapt_from(tiny(), log, limits=3)
    with pytest.raises(InputError, match="steps = 0"):
        metarl.adapt_from(tiny(), log, steps=0, limits=NO_LIMITS)
