"""Adapted policies act the same in PPO of SB3, which goes on learning from there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from support.sb3_models import CLOSE, SMALL, VELOCITY, Elsewhere, env_of, observations
from support.tiny import tiny_policy
from support.tiny_memory import tiny_memory

import metarl
from metarl.deploy import MetaPolicy
from metarl.deploy.limits import Limits
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.policies.frame_stack import FrameStackConfig, FrameStackPolicy
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import head
from metarl.runs.checkpoint import SavedPolicy, create_run
from metarl.sb3 import from_ppo, to_ppo
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError, get_family


@pytest.fixture(autouse=True)
def leave_the_global_generator_alone():
    with torch.random.fork_rng(devices=[]):
        yield


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


def test_a_policy_with_a_memory_is_refused():
    saved = tiny_policy("navigation")
    config = dataclasses.replace(saved.config, policy=FrameStackConfig())
    policy = FrameStackPolicy.for_family(get_family("navigation"), FrameStackConfig())
    params = policy.init(torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"FrameStackPolicy: .* without a memory"):
        to_ppo(MetaPolicy(SavedPolicy(policy, params, config, {})), env_of("navigation"))
    with pytest.raises(InputError, match=r"MemoryPolicy: .* without a memory"):
        to_ppo(MetaPolicy(tiny_memory("navigation")), env_of("navigation"))


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
