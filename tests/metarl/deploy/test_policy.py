import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from support.helpers import Momentum
from support.tiny import tiny_policy

import metarl
from metarl import Limits
from metarl.adaptation import inner_loop
from metarl.adaptation.base import adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import run_inner_loop
from metarl.adaptation.learned_rates import MetaSgd
from metarl.adaptation.losses import inner_batches
from metarl.deploy import (
    AdaptationCancelled,
    AdaptationExit,
    AdaptationInterruptedError,
    MetaPolicy,
    adapt_to_task,
)
from metarl.deploy.adapt import adaptation_generators
from metarl.errors import NonFiniteUpdateError
from metarl.methods.baselines import baseline_recipe
from metarl.methods.setup import inner_loop_of, policy_of
from metarl.outer.state import initial_params
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import SavedPolicy, save_policy
from metarl_envs import BatchEnv, InputError, get_family

UNCAPPED = Limits(max_step_kl=math.inf)
BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"


class Replay(gymnasium.Env):
    """Plays recorded episodes of one task, whatever the actions."""

    def __init__(self, family, rollouts: list[Rollouts]):
        low, high = (bound.numpy() for bound in family.action_bounds())
        self.action_space = Box(low.astype(np.float32), high.astype(np.float32))
        self.observation_space = Box(-np.inf, np.inf, (family.observation_size,), np.float64)
        self.episodes = [
            (
                torch.cat([r.observations[0, e], r.final_observations[0, e, None]]).numpy(),
                r.rewards[0, e].numpy(),
            )
            for r in rollouts
            for e in range(r.rewards.shape[1])
        ]
        self.seeds, self.options = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.options.append(options)
        self.observations, self.rewards = self.episodes[len(self.seeds) - 1]
        self.t = 0
        return self.observations[0], {}

    def step(self, action):
        assert self.action_space.contains(action)
        reward = self.rewards[self.t]
        self.t += 1
        return self.observations[self.t], reward, False, False, {}


def one_step(saved, env, seed):
    """The inner loop of one step, as `adapt_to_task` runs it."""
    start, how = expand(saved.params, 1), inner_loop_of(saved.config, 1.0)
    streams = adaptation_generators(seed)
    collected = partial(Collector(env, saved.policy).collect, resets=streams[0], actions=streams[1])
    return run_inner_loop(saved.policy, how, start, 1, collected)


def largest_difference(first, second) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    "inner",
    [GradientStep(inner_lr_decay=0.5), MetaSgd(), Momentum()],
    ids=lambda inner: type(inner).__name__,
)
def test_one_world_at_a_time_gives_the_parameters_of_the_batched_path(inner, steps):
    # The point starts at the origin without noise, so both paths see the same episodes.
    saved = tiny_policy("navigation", horizon=100)
    config = replace(saved.config, inner=inner)
    params = initial_params(saved.policy, config.inner, torch.Generator().manual_seed(0))
    saved = replace(saved, config=config, params=params)
    task = get_family("navigation").make_task({"goal": (0.3, -0.2)})
    batched = adapt_to_task(saved, task, episodes=4, steps=steps, seed=5)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": [0.3, -0.2]}})
    alone = MetaPolicy(saved).adapt(env, episodes=4, steps=steps, seed=5, limits=UNCAPPED)
    assert largest_difference(saved.params, batched.params) > 1e-3
    assert largest_difference(batched.params, alone.saved.params) <= 1e-6
    # What it is measured by is the mean action: a start that is always the same, and no noise.
    saved_alone, adapted_alone = (act(p, env) for p in (MetaPolicy(saved), alone))
    np.testing.assert_allclose(batched.returns[[0, -1]], [saved_alone, adapted_alone], rtol=1e-4)
    assert abs(alone.adapted["returns"][0] - batched.returns[0]) > 1e-3  # that is with noise


def act(policy, env) -> float:
    """Return of the mean action over 100 steps."""
    observation, total = env.reset()[0], 0.0
    for _ in range(100):
        observation, reward, *_ = env.step(policy.predict(observation)[0])
        total += reward
    return total


def test_same_rollouts_give_the_parameters_of_the_batched_path_on_a_robot():
    saved, family = tiny_policy("half-cheetah-direction"), get_family("half-cheetah-direction")
    env = BatchEnv(family, 1, 3, horizon=12)
    env.set_tasks(family.make_task({"direction": -1}))
    inner = one_step(saved, env, seed=2)
    replay = Replay(family, inner.rollouts)
    alone = MetaPolicy(saved).adapt(replay, episodes=3, seed=2, limits=UNCAPPED)
    batched = {name: value[0] for name, value in inner.adapted.items()}
    assert largest_difference(saved.params, batched) > 1e-3
    assert largest_difference(batched, alone.saved.params) <= 1e-6


def test_the_bundled_policy_adapts_alone_as_in_the_batch_over_whole_episodes():
    saved, family = metarl.load(BUNDLED).saved, get_family("half-cheetah-direction")
    env = BatchEnv(family, 1, 5, horizon=100)
    env.set_tasks(family.make_task({"direction": -1}))
    inner = one_step(saved, env, seed=2)
    alone = MetaPolicy(saved).adapt(
        Replay(family, inner.rollouts), episodes=5, seed=2, limits=UNCAPPED
    )
    batched = {name: value[0] for name, value in inner.adapted.items()}
    assert largest_difference(saved.params, batched) > 1e-2
    assert largest_difference(batched, alone.saved.params) <= 1e-6


def test_adapting_seeds_the_first_reset_only_and_never_names_a_task():
    saved, family = tiny_policy("navigation", horizon=3), get_family("navigation")
    env = BatchEnv(family, 1, 4, horizon=3)
    inner = one_step(saved, env, seed=0)
    replay = Replay(family, inner.rollouts)
    MetaPolicy(saved).adapt(replay, episodes=2, steps=2, seed=9)
    assert replay.seeds == [9, None, None, None]
    assert replay.options == [None] * 4


def test_adapting_keeps_the_environment_in_its_task():
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    env.reset(options={"task": {"direction": -1}})
    MetaPolicy(tiny_policy("half-cheetah-direction", horizon=3)).adapt(env, episodes=2)
    assert env.reset()[1]["task"] == {"direction": -1.0}


def test_adapting_leaves_the_original_as_it_was():
    policy = MetaPolicy(tiny_policy("navigation"))
    before = {name: value.clone() for name, value in policy.saved.params.items()}
    adapted = policy.adapt(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"), episodes=2)
    assert largest_difference(before, policy.saved.params) == 0
    assert policy.adapted is None
    assert adapted.adapted["episodes"] == 2


def test_prediction_is_the_scaled_and_clipped_mean():
    saved = tiny_policy("half-cheetah-direction")
    observation = np.linspace(-1, 1, 17)
    action, state = MetaPolicy(saved).predict(observation)
    inputs = torch.as_tensor(observation, dtype=torch.float32)[None]
    mean = saved.policy.mean(saved.params, inputs)[0]
    expected = (mean / 10).clamp(-1, 1).numpy()
    np.testing.assert_allclose(action, expected, rtol=1e-6)
    assert action.dtype == np.float32
    assert state is None


def test_a_batch_is_predicted_row_by_row():
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    observations = np.random.default_rng(0).normal(size=(5, 17))
    actions, _ = policy.predict(observations)
    rows = np.stack([policy.predict(observation)[0] for observation in observations])
    assert actions.shape == (5, 6)
    np.testing.assert_allclose(actions, rows, atol=1e-7)


def test_stochastic_prediction_has_the_policy_s_spread():
    saved = tiny_policy("half-cheetah-direction")
    observations = np.zeros((4000, 17))
    actions, _ = MetaPolicy(saved).predict(observations, deterministic=False)
    # Initial std 1 over an action scale of 10; clipping at +-1 is ten deviations away.
    np.testing.assert_allclose(actions.std(axis=0), 0.1, rtol=0.05)
    np.testing.assert_allclose(actions.mean(axis=0), 0.0, atol=0.01)


def test_actions_stay_within_the_actuator_range():
    saved = tiny_policy("half-cheetah-direction")
    action, _ = MetaPolicy(saved).predict(np.full((3, 17), 1e4), deterministic=False)
    assert np.abs(action).max() <= 1


@pytest.mark.parametrize(
    "given", [torch.ones(17, requires_grad=True), torch.ones(17).double(), [1] * 17]
)
def test_observations_of_any_type_are_numbers(given):
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    np.testing.assert_array_equal(policy.predict(given)[0], policy.predict(np.ones(17))[0])
    with pytest.raises(InputError, match=r"observation = \['x', .*: must be numbers"):
        policy.predict(["x"] * 17)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 1, 17), ()])
def test_observation_of_another_shape_is_refused(shape):
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    with pytest.raises(InputError, match=r"reads \(17,\) or \(N, 17\)"):
        policy.predict(np.zeros(shape))


def test_environment_with_other_spaces_is_refused_naming_both():
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    other = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    with pytest.raises(InputError, match=r"\(2,\).* reads a Box of shape \(17,\)"):
        policy.adapt(other)
    wide = Replay(get_family("half-cheetah-direction"), [])
    wide.action_space = Box(-2, 2, (6,))
    with pytest.raises(InputError, match=r"Box\(-2.0, 2.0.* gives a Box of shape \(6,\) from"):
        policy.adapt(wide)


@pytest.mark.parametrize("reward", [np.zeros(2), np.zeros((2, 2)), None, "much", [None], b"1"])
def test_a_reward_that_is_no_number_is_told_in_one_line(reward):
    class Paying(gymnasium.Wrapper):
        def step(self, action):
            observation, _, *rest = self.env.step(action)
            return observation, reward, *rest

    policy = MetaPolicy(tiny_policy("navigation"))
    env = Paying(gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True))
    with pytest.raises(InputError, match=r"reward of the environment = .*: must be one") as told:
        policy.adapt(env, episodes=1)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "kind",
    [float, np.float32, lambda r: np.array([r]), lambda r: torch.tensor([[r]]), lambda r: [r]],
)
def test_a_reward_of_one_element_is_a_number(kind):
    class Paying(gymnasium.Wrapper):
        def step(self, action):
            observation, _, *rest = self.env.step(action)
            return torch.as_tensor(observation), kind(0.5), *rest

    policy = MetaPolicy(tiny_policy("navigation", horizon=4))
    env = Paying(gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True))
    assert policy.adapt(env, episodes=2).adapted["returns"] == [2.0]


@pytest.mark.parametrize("observation", [np.zeros(3), None, "here", np.zeros((1, 2))])
def test_an_observation_of_another_form_is_told_before_the_first_step(observation):
    class Seeing(gymnasium.Wrapper):
        def reset(self, **how):
            return observation, self.env.reset(**how)[1]

        def step(self, action):
            raise AssertionError("the robot moved")

    env = Seeing(gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True))
    with pytest.raises(InputError, match=r"observation of the environment = .* shape \(2,\)"):
        MetaPolicy(tiny_policy("navigation")).adapt(env, limits=UNCAPPED)


class Habit(gymnasium.Wrapper):
    """Gives something else than Gymnasium's interface says, from the first reset or step on."""

    def __init__(self, reset=lambda given: given, step=lambda given: given):
        made = gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True)
        super().__init__(made)
        self.change_reset, self.change_step, self.steps = reset, step, 0

    def reset(self, **how):
        return self.change_reset(self.env.reset(**how))

    def step(self, action):
        self.steps += 1
        return self.change_step(self.env.step(action))


@pytest.mark.parametrize(
    ("habit", "told"),
    [
        ({"reset": lambda given: given[0]}, "reset gave ndarray: reset"),
        ({"reset": lambda given: (given[0], None)}, r"reset gave \(ndarray, NoneType\)"),
        ({"step": lambda given: (*given[:3], {})}, "step 1 gave .*four are the old Gym's"),
        ({"step": lambda given: None}, "step 1 gave NoneType"),
        ({"step": lambda given: (*given[:2], None, False, {})}, "step 1: terminated .* = None"),
        ({"step": lambda given: (*given[:3], "no", {})}, "step 1: truncated .* = 'no'"),
        ({"step": lambda given: (*given[:4], None)}, "step 1: info = None: must be a dict"),
        ({"step": lambda given: ({"o": given[0]}, *given[1:])}, "step 1: observation .* = {'o'"),
        (
            {"step": lambda given: ([[0.0], []], *given[1:])},
            r"step 1: observation .* = \[\[0.0\], ",
        ),
    ],
)
def test_what_is_not_gymnasium_s_interface_is_told_at_the_first_step(habit, told):
    env = Habit(**habit)
    with pytest.raises(InputError, match=f"^environment MetaRL/Navigation-v0: {told}") as caught:
        MetaPolicy(tiny_policy("navigation", horizon=6)).adapt(env, episodes=2)
    assert env.steps == (0 if "reset" in habit else 1)
    assert "\n" not in str(caught.value)


def test_ends_of_any_type_are_ends():
    def ends(kind, place):
        def step(given):
            return *given[:place], kind(env.steps % 3 == 0), *given[place + 1 :]

        env = Habit(step=step)
        return MetaPolicy(tiny_policy("navigation", horizon=6)).adapt(env, episodes=2).adapted

    for kind in (bool, int, float, np.bool_, lambda end: np.array([end]), torch.tensor):
        assert ends(kind, 2)["collections"][0]["steps"] == 3.0
        assert ends(kind, 3)["collections"][0]["steps"] == 3.0


def test_what_is_not_one_environment_is_refused():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    name = "metarl_envs:MetaRL/Navigation-v0"
    several = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(name)] * 2)
    for wrong in (vec_env.DummyVecEnv([lambda: gymnasium.make(name)]), several, None, "Ant-v5"):
        with pytest.raises(InputError, match=r"env is of type \w+: must be one gymnasium.Env; "):
            policy.adapt(wrong, episodes=2)
    several.close()


def test_a_dict_of_observations_is_refused_with_what_makes_it_flat():
    env = Habit()
    env.observation_space = gymnasium.spaces.Dict({"o": env.observation_space})
    with pytest.raises(InputError, match=r"Dict.*such as gymnasium.wrappers.FlattenObservation"):
        MetaPolicy(tiny_policy("navigation")).adapt(env, episodes=2)


class Failing(gymnasium.Wrapper):
    """Raises in its n-th episode, at the reset or at the second step."""

    def __init__(self, error, episode, where="step"):
        super().__init__(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"))
        self.error, self.episode, self.where, self.resets, self.t = error, episode, where, 0, 0

    def reset(self, **how):
        self.resets, self.t = self.resets + 1, 0
        if (self.resets, self.where) == (self.episode, "reset"):
            raise self.error
        return self.env.reset(**how)

    def step(self, action):
        self.t += 1
        if (self.resets, self.where, self.t) == (self.episode, "step", 2):
            raise self.error
        return self.env.step(action)


@pytest.mark.parametrize("where", ["reset", "step"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ConnectionError("no answer from the arm"), AdaptationInterruptedError),
        (KeyboardInterrupt(), AdaptationCancelled),
    ],
)
def test_what_was_gathered_before_an_error_is_adapted_from(error, raised, where):
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises(raised) as cut:
        policy.adapt(Failing(error, 5, where), episodes=5, seed=3, limits=UNCAPPED)
    told = cut.value.__cause__
    assert told is error or told.__cause__ is error
    adapted = cut.value.policy
    assert adapted.adapted["collections"][0]["episodes"] == 4
    kind = "" if isinstance(told, InputError) else f"{type(told).__name__}: "
    assert adapted.adapted["interrupted"] == f"{kind}{told}"
    assert "adapted from the 4 episodes before" in str(cut.value)
    # It is the step that the four make: the noise of five is drawn, so not that of four drawn.
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        made = inner_loop.policy_batch
        patch.setattr(inner_loop, "policy_batch", lambda r, *how: seen.append(r) or made(r, *how))
        whole = policy.adapt(Failing(error, 99), episodes=5, seed=3, limits=UNCAPPED)
    batch = made(seen[0].some_episodes(slice(4)), 0.99, policy.saved.config.gae_lambda)
    how, start = inner_loop_of(policy.saved.config, 1.0), expand(policy.saved.params, 1)
    steps = inner_batches(policy.saved.policy, [batch], how.inner_loss)
    expected = {name: v[0].detach() for name, v in adapt(how.adaptation, start, steps).items()}
    assert largest_difference(expected, adapted.saved.params) <= 1e-6
    assert largest_difference(whole.saved.params, adapted.saved.params) > 1e-6


def test_sys_exit_keeps_its_code_and_other_ends_their_type():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises(AdaptationExit) as cut:
        policy.adapt(Failing(SystemExit(3), 3), episodes=5, limits=UNCAPPED)
    assert cut.value.code == 3
    assert len(cut.value.policy.episodes) == 2
    error = GeneratorExit()
    with pytest.raises(GeneratorExit) as other:
        policy.adapt(Failing(error, 3), episodes=5, limits=UNCAPPED)
    assert other.value is error


@pytest.mark.parametrize("kind", [ConnectionError, KeyboardInterrupt, SystemExit])
def test_what_a_callback_raises_keeps_what_was_gathered(kind):
    records = []

    def tell(record):
        records.append(record)
        if len(records) == 3:
            raise kind

    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises((AdaptationInterruptedError, AdaptationCancelled, AdaptationExit)) as cut:
        policy.adapt(Failing(None, 99), episodes=3, steps=2, limits=UNCAPPED, on_episode=tell)
    assert type(cut.value.__cause__) is kind
    adapted = cut.value.policy  # the third was the last of the first step, which was made
    assert adapted.adapted["limits"]["steps_taken"] == 1
    assert [e.returned for e in adapted.episodes] == [r.returned for r in records]
    assert largest_difference(adapted.saved.params, policy.saved.params) > 1e-4


def test_what_a_callback_raises_after_the_check_is_no_bad_end_of_the_robot():
    def tell(record):
        if record.check and record.number == record.of:
            raise ConnectionError("the log is full")

    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    limits = Limits(check_episodes=2, max_step_kl=math.inf)
    expected = policy.adapt(Failing(None, 99), episodes=3, limits=limits).adapted["limits"]
    with pytest.raises(AdaptationInterruptedError) as cut:
        policy.adapt(Failing(None, 99), episodes=3, limits=limits, on_episode=tell)
    assert cut.value.policy.adapted["limits"] == expected
    assert expected["check"]["bad_share_after"] == 0


def test_every_episode_is_told_and_printed(capsys):
    records = []
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    limits = Limits(check_episodes=2, max_step_kl=math.inf)
    adapted = policy.adapt(
        Failing(None, 99), episodes=2, steps=2, limits=limits, on_episode=records.append,
        verbose=True,
    )  # fmt: skip
    assert [(r.collection, r.number, r.of, r.check) for r in records] == [
        (1, 1, 2, False), (1, 2, 2, False), (2, 1, 2, False), (2, 2, 2, False),
        (3, 1, 2, True), (3, 2, 2, True),
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(record) for record in records]
    assert lines[2].startswith("step 2 of 2, episode 1 of 2: return -")
    assert {r.ended for r in records} == {"truncated"}
    np.testing.assert_allclose(
        [np.mean([r.returned for r in records[i : i + 2]]) for i in (0, 2)],
        adapted.adapted["returns"],
    )
    assert len(adapted.episodes) == 4  # those of the check are for the callback
    with pytest.raises(InputError, match="on_episode = 'me': must be a function"):
        policy.adapt(Failing(None, 99), on_episode="me")


def test_a_policy_is_printed_as_three_lines():
    policy = metarl.load(BUNDLED)
    first, second, third = str(policy).splitlines()
    assert first == (
        "Meta-SGD policy of half-cheetah-direction: 17 observations -> 6 actions from -1 to 1"
    )
    assert second == (
        "trained for 300 iterations, 24,000,000 steps; adapts by 1 gradient step on 20 episodes "
        "each"
    )
    assert third == "not adapted"
    oracle = baseline_recipe("half-cheetah-velocity", "oracle")
    function = replace(policy.saved.policy, action_low=(-1.0,) * 5 + (-2.0,))
    saved = replace(policy.saved, config=oracle, policy=function, metadata={})
    first, second, _ = repr(MetaPolicy(saved)).splitlines()
    assert first.startswith("Oracle PPO baseline of half-cheetah-velocity: 17 observations")
    assert first.endswith("6 actions")
    assert second == (
        "trained for an unknown time; acts as it is (adapts nothing: it observes the task)"
    )

    def last(**report):
        report = {"steps": 1, "episodes": 5, "returns": [1.25], "limits": {}} | report
        return repr(MetaPolicy(replace(policy.saved, metadata={"adapted": report}))).split("\n")[-1]

    assert last() == "adapted by 1 gradient step on 5 episodes each: return 1.2"
    assert last(returns=[1, 2], steps=2).startswith("adapted by 2 gradient steps on 5 episodes")
    assert last(returns=[1, 2]).endswith("return 1.0, then 2.0")
    check = {"rolled_back": False, "collection": {"return": 7}}
    assert last(limits={"check": check}).endswith(", and 7.0 in the check")
    check["rolled_back"] = True
    assert last(limits={"check": check}).endswith("; taken back by the check")
    assert last(interrupted="OSError: two\nlines").endswith("; cut short by OSError: two lines")


def test_an_error_before_any_whole_episode_is_told_as_the_environment_s():
    error = ConnectionError("no answer")
    told = (
        r"environment MetaRL/Navigation-v0: step 2 failed: ConnectionError: no answer "
        r"\(test_policy.py, line \d+\); this comes from the environment itself"
    )
    with pytest.raises(InputError, match=told) as cut:
        MetaPolicy(tiny_policy("navigation")).adapt(Failing(error, 1), episodes=3)
    assert cut.value.__cause__ is error
    assert "\n" not in str(cut.value)


def test_an_error_after_the_first_step_keeps_that_step():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises(AdaptationInterruptedError) as cut:
        policy.adapt(Failing(OSError("gone"), 3), episodes=2, steps=2, seed=3)
    once = policy.adapt(Failing(OSError("gone"), 9), episodes=2, steps=1, seed=3)
    assert cut.value.policy.adapted["limits"]["steps_taken"] == 1
    assert largest_difference(cut.value.policy.saved.params, once.saved.params) == 0


def test_an_unsafe_start_in_mid_adaptation_keeps_the_episodes():
    policy, resets = MetaPolicy(tiny_policy("navigation", horizon=6)), []

    class Counting(Failing):
        def reset(self, **how):
            resets.append(how)
            return super().reset(**how)

    def unsafe(observation):
        return len(resets) == 4

    with pytest.warns(UserWarning, match=r"UnsafeStartError.*from the 3 episodes before$"):
        adapted = policy.adapt(Counting(None, 99), episodes=5, limits=Limits(unsafe=unsafe))
    assert adapted.adapted["collections"][0]["episodes"] == 3
    assert adapted.adapted["limits"]["steps_taken"] == 1
    assert largest_difference(adapted.saved.params, policy.saved.params) > 1e-4
    resets.clear()
    with pytest.warns(UserWarning, match="and not checked"):
        policy.adapt(Counting(None, 99), episodes=5, limits=Limits(unsafe=unsafe, check_episodes=2))


def test_an_unsafe_start_in_the_check_takes_the_step_back():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    env = Failing(None, 99)
    limits = Limits(unsafe=lambda o: env.resets == 4, check_episodes=2)
    with pytest.warns(UserWarning, match="unsafe before its first step"):
        adapted = policy.adapt(env, episodes=3, limits=limits)
    check = adapted.adapted["limits"]["check"]
    assert (check["bad_share_before"], check["bad_share_after"]) == (0.0, 1.0)
    assert check["rolled_back"]
    assert largest_difference(adapted.saved.params, policy.saved.params) == 0


def test_as_many_steps_are_taken_as_the_policy_was_trained_for():
    saved = tiny_policy("navigation", horizon=4)
    saved = replace(saved, config=replace(saved.config, adaptation_steps=3))
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    adapted = MetaPolicy(saved).adapt(env, episodes=2).adapted
    assert (adapted["steps"], adapted["limits"]["steps_taken"]) == (3, 3)
    batched = adapt_to_task(saved, get_family("navigation").nominal_tasks(), episodes=2)
    assert len(batched.returns) == 4


def test_limits_of_another_type_are_refused():
    env = Failing(None, 99)
    with pytest.raises(InputError, match=r"limits = None: must be metarl.Limits"):
        MetaPolicy(tiny_policy("navigation")).adapt(env, limits=None)
    assert env.resets == 0


@pytest.mark.parametrize("name", ["episodes", "steps", "seed"])
def test_sizes_of_any_type_are_whole_numbers_or_refused(name):
    policy = MetaPolicy(tiny_policy("navigation", horizon=3))
    task = get_family("navigation").nominal_tasks()
    for good in (np.int64(2), np.array([2]), torch.tensor(2), 2.0):
        sizes = {"episodes": 2, "steps": 1, name: good}
        found = adapt_to_task(policy.saved, task, **sizes).saved.metadata["adapted"]
        assert (found[name], type(found[name])) == (2, int)
    for bad in (2.5, "2", None if name != "steps" else "two", [2, 3], True):
        env, sizes = Failing(None, 99), {"episodes": 2, "steps": 1, name: bad}
        with pytest.raises(InputError, match=f"{name} = .*: must be a whole number"):
            policy.adapt(env, **sizes)
        with pytest.raises(InputError, match=f"{name} = .*: must be a whole number"):
            adapt_to_task(policy.saved, task, **sizes)
        assert env.resets == 0


def test_adapted_policy_survives_saving(tmp_path):
    saved = tiny_policy("half-cheetah-direction")
    task = get_family("half-cheetah-direction").make_task({"direction": -1})
    adaptation = adapt_to_task(saved, task, episodes=3)
    folder = adaptation.save(tmp_path / "adapted")
    loaded = metarl.load(folder)
    assert largest_difference(loaded.saved.params, adaptation.params) == 0
    observation = np.linspace(-1, 1, 17)
    expected = MetaPolicy(adaptation.saved).predict(observation)[0]
    assert np.array_equal(loaded.predict(observation)[0], expected)
    assert loaded.adapted["task"] == {"direction": -1.0}
    assert loaded.adapted["returns"] == pytest.approx(adaptation.returns.tolist())


def test_policy_folder_loads_and_adapts(tmp_path):
    saved = tiny_policy("navigation")
    folder = save_policy(tmp_path / "policy", saved)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    adapted = metarl.load(str(folder)).adapt(env, episodes=2)
    assert metarl.load(adapted.save(tmp_path / "adapted")).adapted["steps"] == 1


def test_summary_names_task_quantity_and_unit():
    saved = tiny_policy("half-cheetah-direction")
    task = get_family("half-cheetah-direction").make_task({"direction": -1})
    adaptation = adapt_to_task(saved, task, episodes=3, steps=2)
    first, header, *rows, gain, how = adaptation.summary().splitlines()
    assert first == "half-cheetah-direction: direction = -1"
    assert header.endswith("return  forward velocity, m/s")
    for k, row in enumerate(rows):
        shown = [float(word) for word in row.split()]
        expected = [k, 3 * k, adaptation.returns[k], adaptation.quantity[k]]
        assert shown == pytest.approx(expected, abs=0.051)
    assert float(gain.split()[-1]) == pytest.approx(adaptation.gain, abs=0.051)
    assert "measured by the mean action" in how
    # direction = -1: the reward is the velocity backwards minus a small control cost.
    assert adaptation.returns[0] == pytest.approx(-12 * adaptation.quantity[0], abs=0.5)


def test_seed_fixes_an_adaptation_whatever_the_threads():
    saved = tiny_policy("half-cheetah-direction")
    task = get_family("half-cheetah-direction").make_task({"direction": 1})
    first, again, other = (
        adapt_to_task(saved, task, episodes=3, seed=seed, sim_threads=threads)
        for seed, threads in ((1, 1), (1, 2), (2, 1))
    )
    assert largest_difference(first.params, again.params) == 0
    assert largest_difference(first.params, other.params) > 0


class Diverging(Replay):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, np.nan, *rest


def test_adaptation_without_a_sound_episode_is_an_error():
    saved, family = tiny_policy("navigation", horizon=3), get_family("navigation")
    env = BatchEnv(family, 1, 2, horizon=3)
    inner = one_step(saved, env, seed=0)
    with pytest.raises(NonFiniteUpdateError, match="step 1 is not finite"):
        MetaPolicy(saved).adapt(Diverging(family, inner.rollouts), episodes=2)


@pytest.mark.parametrize("sizes", [{"episodes": 0}, {"steps": 0}])
def test_impossible_sizes_are_refused(sizes):
    saved = tiny_policy("navigation")
    (name,) = sizes
    with pytest.raises(InputError, match=f"{name} = 0"):
        MetaPolicy(saved).adapt(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"), **sizes)
    with pytest.raises(InputError, match=f"{name} = 0"):
        adapt_to_task(saved, get_family("navigation").nominal_tasks(), **sizes)


def test_stable_baselines3_can_evaluate_an_adapted_policy():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    env.reset(options={"task": {"direction": -1}})
    policy = metarl.load(BUNDLED)
    adapted = policy.adapt(env, episodes=5)
    before, after = (
        evaluation.evaluate_policy(p, env, n_eval_episodes=2, warn=False)[0]
        for p in (policy, adapted)
    )
    assert before < 150
    assert after > 250
    observation, total = env.reset(seed=4)[0], 0.0
    for _ in range(100):
        observation, reward, *_ = env.step(adapted.predict(observation)[0])
        total += reward
    env.reset(seed=4)  # SB3 goes on from the same stream of resets
    again, _ = evaluation.evaluate_policy(adapted, env, n_eval_episodes=1, warn=False)
    assert again == pytest.approx(total, rel=0.15)


def test_importing_metarl_loads_nothing_heavy():
    code = "import metarl, sys; sys.exit(bool({'torch', 'mujoco', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_metarl_has_no_other_lazy_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metarl.nothing  # noqa: B018


def test_an_oracle_acts_in_an_environment_that_tells_the_task():
    oracle = baseline_recipe("half-cheetah-velocity", "oracle")
    policy = policy_of(oracle)
    params = policy.init(torch.Generator().manual_seed(0))
    oracle = MetaPolicy(SavedPolicy(policy, params, replace(oracle, horizon=3), {}))
    silent, telling = (
        gymnasium.make("metarl_envs:MetaRL/HalfCheetahVelocity-v0", observe_task=told)
        for told in (False, True)
    )
    observation, _ = telling.reset(seed=0, options={"task": {"velocity": 1.5}})
    assert telling.action_space.contains(oracle.predict(observation)[0])
    adapted = oracle.adapt(telling, episodes=2)  # it has nothing to learn, and stays what it is
    assert all(torch.equal(adapted.saved.params[name], params[name]) for name in params)
    with pytest.raises(InputError, match=r"the policy reads a Box of shape \(18,\)"):
        oracle.adapt(silent, episodes=1)
