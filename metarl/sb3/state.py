"""State of a baseline's training: all of Stable-Baselines3's PPO as named tensors.

A resumed training is the same bit for bit, except that Gymnasium environments in the middle of an
episode begin it again (`TaskVecEnv.state`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize
from torch import Tensor

from metarl.sb3.frames import StackedFrames
from metarl.sb3.vec_env import TaskVecEnv

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""Adam's state of each parameter."""
STATISTICS = ("mean", "var", "count")


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Restore torch's and NumPy's global generators, which SB3 seeds and draws from, at the end."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - SB3 draws from it
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002


def training_tensors(model: PPO, normaliser: VecNormalize) -> dict[str, Tensor]:
    """Copies of the state between two iterations, of a `make_ppo` whose worlds have been reset."""
    monitor, env = _environments(normaliser)
    policy = model.policy
    assert isinstance(policy, ActorCriticPolicy)
    moments = policy.optimizer.state
    saved: dict[str, Any] = {
        f"policy.{name}": value.detach().clone() for name, value in policy.state_dict().items()
    }
    for name, parameter in policy.named_parameters():
        for moment in MOMENTS:  # Adam has none before its first step
            value = moments[parameter].get(moment) if parameter in moments else None
            nothing = torch.zeros(()) if moment == "step" else torch.zeros_like(parameter)
            saved[f"adam.{name}.{moment}"] = nothing if value is None else value.clone()
    for label, statistics in _statistics(normaliser).items():
        for name in STATISTICS:
            saved[f"{label}.{name}"] = np.asarray(vars(statistics)[name], dtype=np.float64)
    starts = model._last_episode_starts
    _, keys, position, *_ = np.random.get_state(legacy=True)  # noqa: NPY002
    saved |= {
        "discounted_returns": normaliser.returns,
        "episode_returns": monitor.episode_returns,
        "episode_lengths": monitor.episode_lengths,
        "episode_starts": starts,
        "torch_generator": torch.random.get_rng_state(),
        "numpy_generator": np.append(keys, position).astype(np.int64),
    }
    frames = outermost(model)
    if isinstance(frames, StackedFrames):
        saved |= {f"frames.{name}": value for name, value in frames.state().items()}
    tensors = {name: torch.as_tensor(value).contiguous() for name, value in saved.items()}
    return {n: t.clone() for n, t in tensors.items()} | {
        f"env.{name}": value.contiguous() for name, value in env.state().items()
    }


def restore(model: PPO, normaliser: VecNormalize, state: Mapping[str, Tensor]) -> int:
    """Put a saved state into a model that has just been made from the same configuration.

    Returns:
        Number of worlds in the middle of an episode that begins again: 0, except of Gymnasium
        environments.
    """
    monitor, env = _environments(normaliser)
    policy = model.policy
    assert isinstance(policy, ActorCriticPolicy)
    policy.load_state_dict({name: state[f"policy.{name}"] for name in policy.state_dict()})
    for name, parameter in policy.named_parameters():
        if state[f"adam.{name}.step"] > 0:
            remembered = {moment: state[f"adam.{name}.{moment}"].clone() for moment in MOMENTS}
            policy.optimizer.state[parameter] = remembered
    for label, statistics in _statistics(normaliser).items():
        mean, var, count = (state[f"{label}.{name}"].numpy().copy() for name in STATISTICS)
        statistics.mean, statistics.var, statistics.count = mean, var, float(count)
    again = env.set_state(_named(state, "env."))
    going_on = ~again.numpy()
    normaliser.returns = state["discounted_returns"].numpy() * going_on
    monitor.episode_returns = state["episode_returns"].numpy() * going_on
    monitor.episode_lengths = state["episode_lengths"].numpy() * going_on
    frames = outermost(model)
    if isinstance(frames, StackedFrames):
        frames.set_state(_named(state, "frames."), again)
        model._last_obs = frames.read(env.last_observations)
    else:
        model._last_obs = normaliser.normalize_obs(env.last_observations)
    model._last_episode_starts = state["episode_starts"].numpy() | again.numpy()
    torch.random.set_rng_state(state["torch_generator"])
    *keys, position = state["numpy_generator"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, 0, 0.0))  # noqa: NPY002
    return int(again.sum())


def outermost(model: PPO) -> VecEnv:
    """The worlds as the model sees them."""
    env = model.get_env()
    assert env is not None
    return env


def _named(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries with a prefix, by their names without it."""
    return {n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}


def _environments(normaliser: VecNormalize) -> tuple[VecMonitor, TaskVecEnv]:
    monitor = normaliser.venv
    assert isinstance(monitor, VecMonitor)
    env = monitor.venv
    assert isinstance(env, TaskVecEnv)
    return monitor, env


def _statistics(normaliser: VecNormalize) -> dict[str, RunningMeanStd]:
    statistics = {"returns": normaliser.ret_rms}
    if normaliser.norm_obs:
        assert isinstance(normaliser.obs_rms, RunningMeanStd)
        statistics["observations"] = normaliser.obs_rms
    return statistics
