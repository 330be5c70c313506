"""SB3's PPO and ours take the same actions, both ways, and both go on learning from there."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from gymnasium.spaces import Box, Discrete
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from support.tiny import tiny_policy
from torch import nn

import metarl
from metarl.cli import main
from metarl.deploy import MetaPolicy
from metarl.deploy.limits import Limits
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import head
from metarl.runs.checkpoint import SavedPolicy, create_run
from metarl.runs.metrics_log import read_metrics
from metarl.sb3 import from_ppo, to_ppo
from metarl.training.trainer import initial_state, train
from metarl.training.warm_start import begun
from metarl_envs import InputError, MetaEnv, get_family

CLOSE = {"rtol": 2e-5, "atol": 1e-6}
"""Tolerance of equal actions: the same sums in single precision, in another order."""
SMALL = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def leave_the_global_generator_alone():
    with torch.random.fork_rng(devices=[]):
        yield


class Elsewhere(gymnasium.Env):
    """An environment with spaces as asked for, which never ends and pays for small actions."""

    def __init__(self, observations=4, low=(-1.0, -1.0), high=(1.0, 1.0), actions=None):
        self.observation_space = Box(-np.inf, np.inf, (observations,), np.float32)
        self.action_space = actions or Box(np.float32(low), np.float32(high))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=self.observation_space.shape).astype(np.float32), {}

    def step(self, action):
        observation = self.np_random.normal(size=self.observation_space.shape)
        return observation.astype(np.float32), -float(np.square(action).sum()), False, False, {}


def env_of(name: str, horizon: int = 10) -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(MetaEnv(get_family(name)), horizon)


def ppo(env, **policy_kwargs) -> PPO:
    kwargs = {"net_arch": [7, 5], "log_std_init": -1.0} | policy_kwargs
    model = PPO("MlpPolicy", env, policy_kwargs=kwargs, seed=0, learning_rate=0.02, **SMALL)
    model.learn(64)
    return model


def observations(size: int) -> np.ndarray:
    """Some of them so large that the normaliser clips them."""
    drawn = np.random.default_rng(0).normal(size=(200, size)) * 3
    drawn[:20] *= 50
    return drawn.astype(np.float32)


def widened(policy: torch.nn.Module, inputs: np.ndarray, half: float) -> None:
    """Larger mean actions, so that some of them are clipped and some are not."""
    with torch.no_grad():
        spread = policy.get_distribution(torch.from_numpy(inputs)).mode().abs().median()
        policy.action_net.weight *= half / spread
        policy.action_net.bias *= half / spread


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("family", ["half-cheetah-velocity", "navigation"])  # controls to 1, to 0.1
@pytest.mark.parametrize("normalised", [True, False])
def test_a_policy_from_sb3_takes_its_actions(tmp_path, family, activation, normalised):
    env = DummyVecEnv([lambda: env_of(family)])
    if normalised:
        env = VecNormalize(env, clip_reward=3.0, epsilon=1e-3)
    model = ppo(env, activation_fn=activation)
    seen = observations(env.observation_space.shape[0])
    inputs = env.normalize_obs(seen) if normalised else seen
    widened(model.policy, inputs, float(model.action_space.high[0]))
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip", device="cpu")  # as a user has it: no environment
    ours = from_ppo(again, family, normaliser=env if normalised else None)
    ours.save(tmp_path / "start")
    ours = metarl.load(tmp_path / "start")

    expected, _ = model.predict(inputs, deterministic=True)
    assert 0.1 < np.mean(np.abs(expected) == model.action_space.high) < 0.9
    found, _ = ours.predict(seen)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert ours.saved.config.discount == model.gamma
    card = (tmp_path / "start" / "README.md").read_text()
    assert "PPO by Stable-Baselines3 and converted" in " ".join(card.split())
    if normalised:  # found without being named, where the model has its environment
        found, _ = from_ppo(model, family).predict(seen)
        np.testing.assert_allclose(found, expected, **CLOSE)


def test_meta_training_from_sb3_begins_at_its_return(tmp_path, monkeypatch):
    """By the command, on tasks of the family: the return before adapting is the given policy's."""
    monkeypatch.chdir(tmp_path)
    model = ppo(env_of("navigation"))
    with torch.no_grad():  # to (-0.5, -0.5) in ten steps, with little noise
        model.policy.action_net.weight *= 0
        model.policy.action_net.bias[:] = -0.05
        model.policy.log_std[:] = -6
    start = from_ppo(model, "navigation")
    start.save("start")
    sizes = "--meta-batch-size 40 --episodes-per-task 2 --horizon 10 --iterations 1"
    flags = [*sizes.split(), "--sim-threads", "1", "--quiet", "--method", "promp"]
    assert main(["train", "navigation", "--start", "start", *flags, "--run", "run"]) == 0
    # What it earns goes by geometry alone: -sum over 10 steps of |goal - t (-0.05, -0.05)|.
    family = get_family("navigation")
    goals = family.sample_tasks(4000, torch.Generator().manual_seed(1), "train").values["goal"]
    path = -0.05 * torch.arange(1, 11)[:, None].expand(10, 2)
    expected = -(goals[:, None] - path).norm(dim=-1).sum(1)
    first = read_metrics(tmp_path / "run")[0]["rollout/return_pre"]
    standard_error = float(expected.std()) / 40**0.5
    assert first == pytest.approx(float(expected.mean()), abs=3 * standard_error)
    assert standard_error < 0.5


def trained(tmp_path, family: str, method: str, **given) -> MetaPolicy:
    """Briefly meta-trained and adapted, so that every part of the policy is away from its start."""
    config = with_settings(
        recipe(family, method),
        {"iterations": 1, "meta_batch_size": 2, "episodes_per_task": 2, "horizon": 10}
        | {"sim_threads": 1, "device": "cpu", "policy.hidden_sizes": [6, 4]}
        | given,
    )
    create_run(tmp_path / "run", config, ["metarl", "train"])
    train(config, initial_state(config), tmp_path / "run", quiet=True)
    return metarl.load(tmp_path / "run").adapt(env_of(family), episodes=2)


@pytest.mark.parametrize(
    ("family", "method", "given"),
    [
        ("half-cheetah-velocity", "promp", {}),  # normalises observations
        ("half-cheetah-velocity", "maml-trpo", {"policy.activation": "relu"}),
        ("navigation", "meta-sgd", {"policy.init_std": 0.3}),
        ("navigation", "cavia", {"policy.activation": "tanh"}),  # adapts a context alone
        ("navigation", "es-maml", {"policy.hidden_sizes": []}),  # a linear policy
    ],
)
def test_an_adapted_policy_acts_the_same_in_sb3_and_learns_on(tmp_path, family, method, given):
    adapted = trained(tmp_path, family, method, **given)
    params = adapted.saved.params
    seen = observations(adapted.saved.policy.observation_size)
    outputs = adapted.saved.policy.mean(params, torch.from_numpy(seen))
    scale = adapted.saved.config.policy.action_scale / float(outputs.abs().median())
    wider = {name: params[name] * scale for name in head(params)[:2]}
    wide = dataclasses.replace(adapted.saved, params=params | wider)
    adapted = MetaPolicy(wide)

    env = env_of(family)
    model = to_ppo(adapted, env, seed=0, learning_rate=1e-3, **{**SMALL, "batch_size": 32})
    expected, _ = adapted.predict(seen)
    assert 0.05 < np.mean(np.abs(expected) == env.action_space.high) < 0.95
    np.testing.assert_allclose(model.predict(seen, deterministic=True)[0], expected, **CLOSE)
    # The noise, in controls, is ours too.
    half = (env.action_space.high - env.action_space.low) / 2
    spread = adapted.saved.policy.log_std(wide.params)[0].exp().detach().numpy()
    np.testing.assert_allclose(
        model.policy.log_std.exp().detach().numpy(),
        spread * half / adapted.saved.config.policy.action_scale,
        rtol=1e-5,
    )
    # SB3 saves and loads it, learns on, and the result comes back to us.
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", env=env, device="cpu")
    np.testing.assert_array_equal(
        loaded.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    )
    before = loaded.policy.action_net.weight.clone()
    loaded.learn(64)
    assert not torch.equal(loaded.policy.action_net.weight, before)
    returned = from_ppo(loaded, family)
    np.testing.assert_allclose(
        returned.predict(seen)[0], loaded.predict(seen, deterministic=True)[0], **CLOSE
    )
    if adapted.saved.config.policy.normalize_observations:
        for name in ("obs_mean", "obs_var", "obs_count"):
            assert torch.equal(returned.saved.params[name], wide.params[name]), name


def test_sb3_improves_what_it_was_handed():
    """A policy far from the goal is trained on its task: the return rises clearly."""
    saved = tiny_policy("navigation", horizon=10)
    env = env_of("navigation")
    env.reset(options={"task": {"goal": (0.3, -0.2)}})
    model = to_ppo(
        MetaPolicy(saved), env, seed=0, n_steps=100, batch_size=50, learning_rate=3e-3, gamma=0.9
    )
    model.learn(3000)

    def mean_return(policy) -> float:
        totals = []
        for episode in range(5):
            observation, total = env.reset(seed=episode)[0], 0.0
            for _ in range(10):
                observation, reward, *_ = env.step(policy.predict(observation)[0])
                total += reward
            totals.append(total)
        return float(np.mean(totals))

    before, after = mean_return(MetaPolicy(saved)), mean_return(from_ppo(model, "navigation"))
    assert after > 0.6 * before  # returns are negative: a third less distance at the least


def test_the_start_keeps_what_sb3_normalised(tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: env_of("half-cheetah-velocity")]))
    ours = from_ppo(ppo(env), "half-cheetah-velocity")
    config, state = begun(ours.saved, recipe("half-cheetah-velocity", "meta-sgd"))
    assert config.policy.normalize_observations
    np.testing.assert_allclose(state.params["obs_mean"].numpy(), env.obs_rms.mean, rtol=1e-5)
    assert float(state.params["obs_count"]) == pytest.approx(env.obs_rms.count)


class Reads(FlattenExtractor):
    pass


VELOCITY = "half-cheetah-velocity"


def of(name: str, **kwargs):
    return PPO("MlpPolicy", env_of(name), policy_kwargs=kwargs, **SMALL)


def image_policy():
    env = Elsewhere()
    env.observation_space = Box(0, 255, (36, 36, 3), np.uint8)
    return PPO("CnnPolicy", env, **SMALL)


@pytest.mark.parametrize(
    ("make", "family", "message"),
    [
        (
            lambda: of("navigation"),
            VELOCITY,
            r"a policy of half-cheetah-velocity reads a Box of shape \(17,\)",
        ),
        (lambda: PPO("MlpPolicy", Elsewhere(2), **SMALL), "navigation", r"from \[-0\.1, -0\.1\]"),
        (
            lambda: PPO("MlpPolicy", Elsewhere(2, actions=Discrete(3)), **SMALL),
            "navigation",
            r"action space Discrete\(3\): a policy of navigation gives a Box of shape \(2,\)",
        ),
        (image_policy, "navigation", "policy of type ActorCriticCnnPolicy: only 'MlpPolicy'"),
        (lambda: SAC("MlpPolicy", Elsewhere(2)), "navigation", "policy of type SACPolicy: only"),
        (
            lambda: PPO("MlpPolicy", env_of("navigation"), use_sde=True, **SMALL),
            "navigation",
            "use_sde=True",
        ),
        (
            lambda: of("navigation", activation_fn=nn.ELU),
            "navigation",
            "activation_fn = ELU: can be converted are Tanh and ReLU",
        ),
        (
            lambda: of("navigation", features_extractor_class=Reads),
            "navigation",
            "features_extractor_class = Reads",
        ),
        (
            lambda: PPO(
                "MlpPolicy",
                VecNormalize(DummyVecEnv([lambda: env_of("navigation")]), clip_obs=5.0),
                **SMALL,
            ),
            "navigation",
            "clip_obs = 5.0: ours clips at 10",
        ),
        (lambda: of("navigation"), "navigatoin", "did you mean navigation"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(make, family, message):
    with pytest.raises(InputError, match=message) as refused:
        from_ppo(make(), family)
    assert "\n" not in str(refused.value)


def test_a2c_is_converted_too():
    model = A2C("MlpPolicy", env_of("navigation"), device="cpu", seed=0)
    seen = observations(2)
    np.testing.assert_allclose(
        from_ppo(model, "navigation").predict(seen)[0],
        model.predict(seen, deterministic=True)[0],
        **CLOSE,
    )


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Elsewhere(2), r"action space Box.*: the policy gives a Box of .* from \[-0\.1, -0\.1\]"),
        (Elsewhere(3, (-0.1, -0.1), (0.1, 0.1)), r"the policy reads a Box of shape \(2,\)"),
        (VecNormalize(DummyVecEnv([lambda: env_of("navigation")])), "norm_obs=False"),
        (VecMonitor(VecNormalize(DummyVecEnv([lambda: env_of("navigation")]))), "norm_obs=False"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(env, message):
    with pytest.raises(InputError, match=message) as refused:
        to_ppo(MetaPolicy(tiny_policy("navigation")), env)
    assert "\n" not in str(refused.value)


def test_action_bounds_that_sb3_would_not_keep_are_refused():
    saved = tiny_policy("navigation")
    bounded = Limits(action_low=-0.05, action_high=0.05).applied_to(saved.policy)
    policy = MetaPolicy(dataclasses.replace(saved, policy=bounded))
    with pytest.raises(InputError, match=r"action bounds of its own \(metarl\.Limits\)"):
        to_ppo(policy, env_of("navigation"))


def test_twice_normalised_is_refused(tmp_path):
    saved = tiny_policy(VELOCITY)
    network = dataclasses.replace(saved.config.policy, normalize_observations=True)
    config = dataclasses.replace(saved.config, policy=network)
    policy = GaussianMlpPolicy.for_family(get_family(VELOCITY), network)
    params = policy.init(torch.Generator().manual_seed(0))
    env = VecNormalize(DummyVecEnv([lambda: env_of(VELOCITY)]), norm_obs=False)
    model = to_ppo(MetaPolicy(SavedPolicy(policy, params, config, {})), env)
    from_ppo(model, VELOCITY)
    env.norm_obs = True
    with pytest.raises(InputError, match="normalised twice"):
        from_ppo(model, VELOCITY)


def test_every_command_takes_what_came_from_sb3(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from_ppo(ppo(env_of("navigation")), "navigation").save("start")
    few = ["--episodes", "2", "--sim-threads", "1"]
    assert main(["evaluate", "start", "--tasks", "2", *few]) == 0
    assert "does not adapt" in capsys.readouterr().out
    assert main(["adapt", "start", "--task", "goal=0.3,-0.2", *few, "--out", "same"]) == 0
    # Fine-tuned on each task it is a baseline like any other.
    assert main(["baseline", "finetuned", "navigation", "--start", "start", "--run", "fine"]) == 0
    assert main(["evaluate", "fine", "--tasks", "2", *few]) == 0
    assert "does not adapt" not in capsys.readouterr().out
