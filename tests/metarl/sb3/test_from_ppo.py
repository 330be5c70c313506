"""Policies from PPO of SB3 take its actions, and meta-training goes on from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from gymnasium.spaces import Box, Discrete
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from support.sb3_models import CLOSE, SMALL, VELOCITY, Elsewhere, env_of, observations, ppo
from torch import nn

import metarl
from metarl.cli import main
from metarl.methods.families import recipe
from metarl.runs.metrics_log import read_metrics
from metarl.sb3 import from_ppo
from metarl.training.warm_start import begun
from metarl_envs import InputError, get_family


@pytest.fixture(autouse=True)
def leave_the_global_generator_alone():
    with torch.random.fork_rng(devices=[]):
        yield


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


def test_the_start_keeps_what_sb3_normalised(tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: env_of("half-cheetah-velocity")]))
    ours = from_ppo(ppo(env), "half-cheetah-velocity")
    config, state = begun(ours.saved, recipe("half-cheetah-velocity", "meta-sgd"))
    assert config.policy.normalize_observations
    np.testing.assert_allclose(state.params["obs_mean"].numpy(), env.obs_rms.mean, rtol=1e-5)
    assert float(state.params["obs_count"]) == pytest.approx(env.obs_rms.count)


class Reads(FlattenExtractor):
    pass


def of(name: str, **kwargs):
    return PPO("MlpPolicy", env_of(name), policy_kwargs=kwargs, **SMALL)


class RecurrentActorCriticPolicy(ActorCriticPolicy):
    """By type and name the policy of SB3-Contrib's RecurrentPPO, which is not installed here."""


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
        (
            lambda: PPO(RecurrentActorCriticPolicy, env_of("navigation"), **SMALL),
            "navigation",
            "type RecurrentActorCriticPolicy: .* one with a memory, such as RecurrentPPO's, train",
        ),
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
        (
            lambda: PPO(
                "MlpPolicy", VecFrameStack(DummyVecEnv([lambda: env_of("navigation")]), 4), **SMALL
            ),
            "navigation",
            r"\(8,\): 4 observations of navigation.* `metarl baseline frame-stack navigation`",
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
