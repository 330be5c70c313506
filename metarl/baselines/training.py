"""Training of the baselines by Stable-Baselines3's PPO, into run folders of the usual form."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from torch import nn

from metarl.algorithms.ppo import Ppo
from metarl.baselines.conversion import converted, set_initial_actions
from metarl.baselines.vec_env import TaskVecEnv
from metarl.checkpoint import save_policy_checkpoint
from metarl.config import TrainConfig
from metarl.errors import FaultError
from metarl.logging import MetricsLogger
from metarl.params import Params
from metarl.policies import GaussianMlpPolicy
from metarl.progress import Progress
from metarl.runtime import torch_threads
from metarl.signals import StopSignals
from metarl.trainer import Interrupted
from metarl_envs import InputError, Tasks

SB3_METRICS = (
    "train/approx_kl",
    "train/clip_fraction",
    "train/entropy_loss",
    "train/explained_variance",
    "train/policy_gradient_loss",
    "train/value_loss",
)
"""What is logged of SB3's own numbers, by its names."""
TARGET_KL_MARGIN = 1.5
"""SB3 ends an iteration's epochs beyond this many times its `target_kl`."""


def train_baseline(
    config: TrainConfig, run: Path, *, task: Tasks | None = None, quiet: bool = False
) -> None:
    """Train by PPO for `config.iterations` iterations, logging and saving into `run`.

    An iteration is one horizon of steps in each world, then PPO's epochs over them. What is saved
    is the policy as it stands; the last one is the result, no best one is picked. SB3 keeps no
    state of its random numbers, so a run that was stopped cannot go on.

    Args:
        config: from `baseline_recipe`.
        run: an existing run folder.
        task: the only task to train on; None: every episode meets another training task.
        quiet: print nothing.

    Raises:
        Interrupted: after a stop signal, once the policy is saved.
        FaultError: if too many episodes diverge; the policy is saved.
    """
    worlds = config.meta_batch_size * config.episodes_per_task
    env = TaskVecEnv(
        config.task_family(),
        worlds,
        tasks=None if task is None else task[[0] * worlds],
        horizon=config.horizon,
        seed=config.seed,
        sim_threads=config.sim_threads,
    )
    noted = {} if task is None else {"task": task.describe(0)}
    # SB3 seeds torch's global generator: what was there before comes back afterwards.
    with (
        torch.random.fork_rng(devices=[]),
        torch_threads(1),
        StopSignals() as stop,
        MetricsLogger(run, config, iteration=0, env_steps=0) as logger,
        Progress(config.iterations, quiet=quiet) as progress,
    ):
        model, normaliser = make_ppo(config, env)
        recorder = Recorder(config, run, normaliser, logger, progress, stop, noted)
        model.learn(config.iterations * worlds * config.horizon, callback=recorder)
        saved = recorder.save()
        if recorder.failure is not None:
            raise recorder.failure
        if recorder.iteration < config.iterations:
            raise Interrupted(
                f"{stop.requested}: stopped after saving {saved}; a baseline cannot go on from "
                "there, only begin anew"
            )


def make_ppo(config: TrainConfig, env: TaskVecEnv) -> tuple[PPO, VecNormalize]:
    """SB3's PPO as the configuration says, on monitored worlds, and its normaliser.

    Rewards are normalised for the critic's sake; returns in the logs are raw.

    Raises:
        InputError: if `config.outer` is not PPO, or there is a single sample per iteration.
    """
    outer = config.outer
    if not isinstance(outer, Ppo):
        raise InputError(f"outer: a baseline learns by PPO, not by {type(outer).__name__}")
    samples = env.num_envs * config.horizon
    if samples < 2 * outer.minibatches:
        raise InputError(
            f"outer.minibatches = {outer.minibatches}: {env.num_envs} worlds x {config.horizon} "
            f"steps can make at most {samples // 2}"
        )
    policy = GaussianMlpPolicy.for_family(env.family, config.policy)
    normaliser = VecNormalize(
        VecMonitor(env),
        norm_obs=config.policy.normalize_observations,
        gamma=config.discount,
    )
    sizes = list(config.policy.hidden_sizes)
    model = PPO(
        ActorCriticPolicy,
        normaliser,
        n_steps=config.horizon,
        batch_size=-(-samples // outer.minibatches),
        n_epochs=outer.epochs,
        learning_rate=outer.learning_rate,
        clip_range=outer.clip,
        target_kl=outer.max_kl / TARGET_KL_MARGIN,
        gamma=config.discount,
        gae_lambda=config.gae_lambda,
        policy_kwargs={
            "net_arch": {"pi": sizes, "vf": sizes},
            "activation_fn": nn.Tanh if config.policy.activation == "tanh" else nn.ReLU,
        },
        seed=config.seed,
        device="cpu",
    )
    assert isinstance(model.policy, ActorCriticPolicy)
    set_initial_actions(model.policy, policy)
    return model, normaliser


class Recorder(BaseCallback):
    """Logs and saves what SB3 does, iteration by iteration, and ends it when told to."""

    def __init__(
        self,
        config: TrainConfig,
        run: Path,
        normaliser: VecNormalize,
        logger: MetricsLogger,
        progress: Progress,
        stop: StopSignals,
        noted: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config, self.run, self.normaliser = config, run, normaliser
        self.metrics, self.progress, self.stop = logger, progress, stop
        self.noted = noted
        self.policy = GaussianMlpPolicy.for_family(config.task_family(), config.policy)
        self.iteration, self.episodes = 0, 0
        self.failure: FaultError | None = None
        self._collected: dict[str, float] | None = None
        """What the last collection showed, until the update after it is over."""
        self._returns: list[float] = []
        self._lengths: list[float] = []
        self._faults = 0
        self._clock_s = 0.0

    @property
    def params(self) -> Params:
        """The policy as it stands."""
        assert isinstance(self.model.policy, ActorCriticPolicy)
        return converted(self.model.policy, self.normaliser, self.policy)

    def save(self) -> Path:
        """Write the policy as the run's newest checkpoint."""
        counts = {
            "iteration": self.iteration,
            "env_steps": self.num_timesteps,
            "episodes": self.episodes,
        }
        return save_policy_checkpoint(self.run, self.config, self.params, counts | self.noted)

    def _on_rollout_start(self) -> None:
        self._log()
        self._returns, self._lengths, self._faults = [], [], 0
        self._clock_s = time.perf_counter()

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        for world in np.flatnonzero(self.locals["dones"]):
            if infos[world]["fault"]:
                self._faults += 1
            else:
                self._returns.append(float(infos[world]["episode"]["r"]))
                self._lengths.append(float(infos[world]["episode"]["l"]))
        return not self.stop.requested and self.failure is None

    def _on_rollout_end(self) -> None:
        self.iteration += 1
        ended = len(self._returns) + self._faults
        self.episodes += ended
        returned = float(np.mean(self._returns)) if self._returns else float("nan")
        self._collected = {
            "rollout/return_pre": returned,
            "rollout/return_post": returned,  # nothing adapts in training
            "rollout/adaptation_gain": 0.0,
            "rollout/ep_len_mean": float(np.mean(self._lengths)) if self._lengths else float("nan"),
            "rollout/episodes": float(self.episodes),
            "health/nonfinite_envs": float(self._faults),
            "health/fault_share": self._faults / max(1, ended),
            "time/collect_s": time.perf_counter() - self._clock_s,
        }

    def _on_training_end(self) -> None:
        self._log()

    def _log(self) -> None:
        """Write the iteration whose update has just ended, if there is one."""
        if self._collected is None:
            return
        measured, self._collected = self._collected, None
        total_s = time.perf_counter() - self._clock_s
        steps = self.config.horizon * self.training_env.num_envs
        measured |= {
            "time/update_s": total_s - measured["time/collect_s"],
            "time/fps": steps / total_s,
        }
        values = self.logger.name_to_value
        measured |= {name: float(values[name]) for name in SB3_METRICS}
        self.metrics.write(self.iteration, self.iteration * steps, measured)
        self.progress.update(measured)
        share = measured["health/fault_share"]
        if share > self.config.max_fault_share:
            self.failure = FaultError(
                f"{share:.0%} of the episodes of iteration {self.iteration} diverged "
                f"(max_fault_share = {self.config.max_fault_share:.0%}): check the family's "
                "parameter ranges, or raise the limit"
            )
        if self.iteration % self.config.checkpoint_every == 0:
            self.save()
