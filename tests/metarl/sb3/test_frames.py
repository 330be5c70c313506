"""SB3 on a stack of frames: the converted policy lives through episodes as SB3's model does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import with_settings
from metarl.methods.setup import family_of, policy_of
from metarl.policies.belief import Outcome
from metarl.sb3.frames import StackedFrames
from metarl.sb3.state import outermost
from metarl.sb3.training import make_ppo
from metarl.sb3.vec_env import TaskVecEnv
from metarl.sb3.weights import converted

WORLDS, HORIZON = 4, 20


@pytest.fixture(autouse=True)
def leave_the_global_generator_alone():
    with torch.random.fork_rng(devices=[]):
        yield


def learned(**given):
    """A briefly trained model in its worlds, with statistics that stay from now on."""
    config = with_settings(
        baseline_recipe("hopper-dynamics", "frame-stack"),
        {
            "policy.hidden_sizes": [7, 5],
            "policy.action_scale": 3.0,
            "meta_batch_size": WORLDS,
            "horizon": HORIZON,
            "outer.minibatches": 2,
            "outer.learning_rate": 0.003,
        }
        | given,
    )
    env = TaskVecEnv(family_of(config), WORLDS, horizon=HORIZON)
    model, normaliser = make_ppo(config, env)
    model.learn(2 * WORLDS * HORIZON)
    normaliser.training = False
    return config, model, normaliser


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(("frames", "observe_reward"), [(4, True), (3, False), (1, True)])
def test_the_converted_policy_acts_as_sb3s_model_through_episodes(
    frames, normalised, observe_reward
):
    """Hoppers fall before the horizon or reach it, each world at another step."""
    config, model, normaliser = learned(
        **{
            "policy.frames": frames,
            "policy.normalize_observations": normalised,
            "policy.observe_reward": observe_reward,
        }
    )
    policy, frames_env = policy_of(config), outermost(model)
    assert isinstance(frames_env, StackedFrames)
    params = converted(model.policy, normaliser, policy)
    assert params.keys() == policy.init(torch.Generator().manual_seed(0)).keys()

    inputs, belief = frames_env.reset(), policy.begin(params, WORLDS)
    noise, spread = np.random.default_rng(0), np.linspace(0, 1, WORLDS)[:, None]
    terminated, truncated, differences = 0, 0, []
    for _ in range(100):
        observations = torch.from_numpy(normaliser.get_original_obs())
        with torch.no_grad():
            dist, belief = policy.act(params, belief, observations)
        expected, _ = model.predict(inputs, deterministic=True)
        mean = policy.controls(dist.mean).numpy()
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-5)
        differences.append(np.abs(expected).max())
        controls = (mean + spread * noise.normal(size=mean.shape)).astype(np.float32).clip(-1, 1)
        inputs, _, ended, infos = frames_env.step(controls)
        over = [bool(e) and not infos[i]["TimeLimit.truncated"] for i, e in enumerate(ended)]
        late = [bool(e) and infos[i]["TimeLimit.truncated"] for i, e in enumerate(ended)]
        outcome = Outcome(
            policy.outputs(torch.from_numpy(controls)),
            torch.from_numpy(normaliser.get_original_reward()),
            torch.tensor(over),
            torch.tensor(late),
            torch.zeros_like(observations),  # not read
        )
        belief = policy.observe(params, belief, outcome)
        terminated, truncated = terminated + sum(over), truncated + sum(late)
    assert terminated and truncated
    assert max(differences) > 0.1


def test_the_value_of_a_truncated_episode_is_that_of_its_last_step_with_its_stack():
    _, model, normaliser = learned()
    frames = outermost(model)
    assert isinstance(frames, StackedFrames)
    inputs, before = frames.reset(), None
    size, step = normaliser.observation_space.shape[0], None
    for _ in range(60):
        before, controls = inputs, np.full((WORLDS, 3), 0.2, np.float32)
        inputs, _, ended, infos = frames.step(controls)
        earned = normaliser.get_original_reward()
        for world in np.flatnonzero(ended):
            last = infos[world]["terminal_observation"]
            # Its first past step is the one just taken, the others are those before that.
            step = last[size : 2 * size + 5]
            np.testing.assert_allclose(step[:size], before[world, :size], rtol=0, atol=1e-6)
            reward = np.sign(earned[world]) * np.log1p(abs(earned[world]))
            np.testing.assert_allclose(step[size:], [0.2, 0.2, 0.2, reward, 1], rtol=1e-5)
            kept = 2 * (size + 5)
            np.testing.assert_allclose(
                last[size + size + 5 :], before[world, size : size + kept], rtol=0, atol=1e-6
            )
            assert not np.allclose(last[:size], inputs[world, :size])  # the episode's own end
            assert not inputs[world, size:].any()  # the next one begins without a past
    assert step is not None
