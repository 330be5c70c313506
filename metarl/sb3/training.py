"""Training of the baselines by Stable-Baselines3's PPO, into run folders of the usual form."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from torch import nn

from metarl.errors import FaultError, Interrupted
from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of, policy_of
from metarl.outer.ppo import Ppo
from metarl.policies.base import Policy
from metarl.policies.frame_stack import as_frame_stack
from metarl.policies.mlp import as_mlp
from metarl.policies.params import Params
from metarl.rollouts.threads import torch_threads
from metarl.runs.checkpoint import load_baseline_checkpoint, save_policy_checkpoint
from metarl.runs.metrics_log import MetricsLogger
from metarl.runs.progress import SHOWN_UNADAPTED, Progress
from metarl.sb3.frames import StackedFrames
from metarl.sb3.state import global_generators_kept, outermost, restore, training_tensors
from metarl.sb3.vec_env import TaskVecEnv
from metarl.sb3.weights import converted, set_initial_actions
from metarl.training.signals import StopSignals
from metarl_envs import InputError, Tasks

SB3_METRICS = (
    "train/approx_kl",
    "train/clip_fraction",
    "train/entropy_loss",
    "train/explained_variance",
    "train/policy_gradient_loss",
    "train/value_loss",
)
"""Logged numbers of SB3's own, by its names."""
COUNTERS = ("iteration", "env_steps", "episodes")
"""Counters of a checkpoint."""
TARGET_KL_MARGIN = 1.5
"""SB3 ends an iteration's epochs beyond this many times its `target_kl`."""


def train_baseline(
    config: TrainConfig,
    run: Path,
    *,
    task: Tasks | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """Train by PPO up to `config.iterations` iterations, logging and saving into `run`.

    An iteration is one horizon of steps in each world, then PPO's epochs over them. The last policy
    is the result; no best one is picked.

    Args:
        config: from `baseline_recipe`.
        run: an existing run folder.
        task: the only task to train on; None: every episode meets another training task.
        resume: go on from the newest checkpoint, bit for bit (see `metarl.sb3.state`).
        quiet: print nothing.

    Raises:
        Interrupted: after a stop signal, once the finished iteration is saved.
        FaultError: if too many episodes diverge; the policy is saved.
        RunError: if there is no checkpoint that training can go on from.
    """
    with global_generators_kept(), torch_threads(1), StopSignals() as stop:
        learner = PpoLearner(config, task)
        if resume:
            learner.load(run)
        began = learner.iteration
        with (
            MetricsLogger(run, config, iteration=began, env_steps=learner.env_steps) as logger,
            Progress(config.iterations, began, shown=SHOWN_UNADAPTED, quiet=quiet) as progress,
        ):
            while learner.iteration < config.iterations:
                metrics = learner.iterate()
                logger.write(learner.iteration, learner.env_steps, metrics)
                progress.update(metrics)
                fault_share, most = metrics["health/fault_share"], config.max_fault_share
                finished = learner.iteration == config.iterations
                checkpoint = finished or learner.iteration % config.checkpoint_every == 0
                if checkpoint or fault_share > most or stop.requested:
                    saved = learner.save(run)
                    if fault_share > most:
                        raise FaultError.of(fault_share, learner.iteration, most)
                    if stop.requested and not finished:
                        raise Interrupted(f"{stop.requested}: stopped after saving {saved}")


def save_untrained(config: TrainConfig, run: Path, task: Tasks) -> None:
    """Write checkpoint 0, so that a run that is stopped at once resumes with its task."""
    with global_generators_kept(), torch_threads(1):
        PpoLearner(config, task).save(run)


def make_ppo(config: TrainConfig, env: TaskVecEnv) -> tuple[PPO, VecNormalize]:
    """SB3's PPO of the configuration, on monitored worlds, and its normaliser.

    Rewards are normalised for the critic; returns in the logs are raw. A policy on a stack of
    frames reads the worlds through `StackedFrames`.

    Raises:
        InputError: if `config.outer` is not PPO, a minibatch has fewer than two samples, or the
            policy has another memory than a stack of frames.
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
    policy = Policy.for_family(env.family, config.policy)
    normalize = config.policy.normalize_observations
    normaliser = VecNormalize(VecMonitor(env), norm_obs=normalize, gamma=config.discount)
    stack = as_frame_stack(policy)
    network = (stack or as_mlp(policy)).config
    sizes = list(network.hidden_sizes)
    model = PPO(
        ActorCriticPolicy,
        normaliser if stack is None else StackedFrames(normaliser, stack),
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
            "activation_fn": nn.Tanh if network.activation == "tanh" else nn.ReLU,
        },
        seed=config.seed,
        device="cpu",
    )
    assert isinstance(model.policy, ActorCriticPolicy)
    set_initial_actions(model.policy, policy)
    return model, normaliser


class PpoLearner:
    """SB3's PPO between two iterations, with its worlds and counters."""

    def __init__(self, config: TrainConfig, task: Tasks | None) -> None:
        """A fresh policy in worlds that have been reset. SB3 seeds the global generators."""
        worlds = config.meta_batch_size * config.episodes_per_task
        self._config = config
        self._samples = worlds * config.horizon
        self._policy = policy_of(config)
        self._task = {} if task is None else {"task": task.describe(0)}
        env = TaskVecEnv(
            family_of(config),
            worlds,
            tasks=None if task is None else task[[0] * worlds],
            horizon=config.horizon,
            seed=config.seed,
            sim_threads=config.sim_threads,
        )
        self._model, self._normaliser = make_ppo(config, env)
        self._model.set_logger(Logger(None, []))  # SB3 would make a folder for it
        self._model._last_obs = outermost(self._model).reset()  # pyright: ignore[reportAttributeAccessIssue]
        self._model._last_episode_starts = np.ones(worlds, dtype=bool)
        self.iteration = 0
        """Iterations finished."""
        self.episodes = 0
        """Episodes ended."""

    @property
    def env_steps(self) -> int:
        """Environment steps simulated."""
        return self.iteration * self._samples

    def iterate(self) -> dict[str, float]:
        """Collect one horizon in each world and learn from it; metrics."""
        collected = Collected()
        began_s = time.perf_counter()
        self._model.lr_schedule = lambda _: self._learning_rate()
        # A single iteration, and no log at every second one: SB3's logger keeps what the update
        # records until it is dumped.
        self._model.learn(self._samples, collected, log_interval=2, reset_num_timesteps=False)
        total_s = time.perf_counter() - began_s
        self.iteration += 1
        self.episodes += len(collected.returns) + collected.faults
        values = self._model.logger.name_to_value
        return collected.metrics(self.episodes, began_s, total_s, self._samples) | {
            name: float(values[name]) for name in SB3_METRICS
        }

    def _learning_rate(self) -> float:
        """Adam's step size in this iteration."""
        outer = self._config.outer
        assert isinstance(outer, Ppo)  # `make_ppo` refuses others
        return outer.learning_rate * outer.pace(self.iteration / self._config.iterations)

    @property
    def params(self) -> Params:
        """Parameters of the policy by now."""
        assert isinstance(self._model.policy, ActorCriticPolicy)
        return converted(self._model.policy, self._normaliser, self._policy)

    def save(self, run: Path) -> Path:
        """Write the policy and the state of training as the run's newest checkpoint."""
        counters = {name: getattr(self, name) for name in COUNTERS}
        training = counters, training_tensors(self._model, self._normaliser)
        metadata = counters | self._task
        return save_policy_checkpoint(run, self._config, self.params, metadata, training)

    def load(self, run: Path) -> None:
        """Go on from the run's newest checkpoint.

        Raises:
            RunError: if there is none that training can resume from.
        """
        like = training_tensors(self._model, self._normaliser)
        stored = load_baseline_checkpoint(run, COUNTERS, lambda _: like)
        again = restore(self._model, self._normaliser, stored.tensors)
        self.iteration, self.episodes = stored.counters["iteration"], stored.counters["episodes"]
        self._model.num_timesteps = self.env_steps
        if again:
            warnings.warn(
                f"{again} worlds were in the middle of an episode, which begins again: a Gymnasium "
                "environment cannot be saved, so this run does not go on bit for bit",
                stacklevel=2,
            )


class Collected(BaseCallback):
    """Episodes and time of one collection of SB3."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []
        """Of the valid episodes that ended."""
        self.lengths: list[float] = []
        self.faults = 0
        """Episodes that diverged."""
        self.ended_s = 0.0
        """End of the collection, by `time.perf_counter`."""

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        for world in np.flatnonzero(self.locals["dones"]):
            if infos[world]["fault"]:
                self.faults += 1
            else:
                self.returns.append(float(infos[world]["episode"]["r"]))
                self.lengths.append(float(infos[world]["episode"]["l"]))
        return True

    def _on_rollout_end(self) -> None:
        self.ended_s = time.perf_counter()

    def metrics(
        self, episodes: int, began_s: float, total_s: float, samples: int
    ) -> dict[str, float]:
        """Logged metrics of the collection."""
        mean_return = float(np.mean(self.returns)) if self.returns else float("nan")
        collect_s = self.ended_s - began_s
        return {
            "rollout/return_pre": mean_return,
            "rollout/return_post": mean_return,  # nothing adapts in training
            "rollout/adaptation_gain": 0.0,
            "rollout/ep_len_mean": float(np.mean(self.lengths)) if self.lengths else float("nan"),
            "rollout/episodes": float(episodes),
            "health/nonfinite_envs": float(self.faults),
            "health/fault_share": self.faults / max(1, len(self.returns) + self.faults),
            "time/collect_s": collect_s,
            "time/update_s": total_s - collect_s,
            "time/fps": samples / total_s,
        }
