"""The training loop: MAML's algorithm box (Finn et al. 2017, Algorithm 3), one screen long."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from metarl.advantages import PolicyBatch
from metarl.algorithms.maml_trpo import MamlTrpo, first_episodes
from metarl.checkpoint import save_checkpoint
from metarl.config import TrainConfig
from metarl.errors import FaultError, NonFiniteUpdateError
from metarl.inner_loop import InnerLoop, run_inner_loop
from metarl.logging import MetricsLogger
from metarl.params import Params, expand, is_finite, to
from metarl.policies import GaussianMlpPolicy, kl_divergence
from metarl.progress import Progress
from metarl.signals import StopSignals
from metarl.state import Generators, TrainState
from metarl_envs import BatchEnv, get_family

MAX_REFUSED_IN_A_ROW = 3


class Interrupted(Exception):  # noqa: N818 -- not an error: the run is saved and can go on
    """Training stopped on request; the message says where the checkpoint is."""


def initial_state(config: TrainConfig) -> TrainState:
    """Fresh parameters and random streams, all from `config.seed`."""
    policy = GaussianMlpPolicy.for_family(get_family(config.family), config.policy)
    generators = Generators.from_seed(config.seed)
    return TrainState(policy.init(generators.init), generators)


def train(config: TrainConfig, state: TrainState, run: Path, *, quiet: bool = False) -> TrainState:
    """Meta-train from `state` up to `config.iterations`, logging and saving into `run`.

    Raises:
        Interrupted: after a stop signal, once the finished iteration is saved.
        NonFiniteUpdateError: after three refused updates in a row; the last good state is saved.
        FaultError: if too many worlds diverge; the last good state is saved.
    """
    family = get_family(config.family)
    device = config.torch_device()
    policy = GaussianMlpPolicy.for_family(family, config.policy)
    algorithm = MamlTrpo(policy, config.inner, config.outer)
    env = BatchEnv(
        family,
        config.meta_batch_size,
        config.episodes_per_task,
        horizon=config.horizon,
        sim_threads=config.sim_threads,
    )
    start = {"iteration": state.iteration, "env_steps": state.env_steps}
    with (
        StopSignals() as stop,
        MetricsLogger(run, config, **start) as logger,
        Progress(config.iterations, state.iteration, quiet=quiet) as progress,
    ):
        while state.iteration < config.iterations:
            began = time.perf_counter()
            random = state.generators
            env.set_tasks(family.sample_tasks(config.meta_batch_size, random.tasks, "train"))
            inner = run_inner_loop(
                env,
                policy,
                state.params,
                config.inner,
                config.inner.adaptation_steps,
                random.resets,
                random.actions,
                device,
            )
            params, metrics = algorithm.update(
                to(state.params, device), inner.batches, config.horizon
            )
            metrics |= rollout_metrics(inner) | inner_metrics(policy, state.params, inner, config)
            params = policy.update_statistics(
                to(params, torch.device("cpu")),
                inner.rollouts[0].observations,
                inner.rollouts[0].valid,
            )
            state = next_state(state, params, metrics, inner)
            metrics["health/refused_updates"] = float(state.refused)
            metrics |= time_metrics(inner, time.perf_counter() - began)
            logger.write(state.iteration, state.env_steps, metrics)
            progress.update(metrics)

            stop_now = failure(state, metrics, config)
            last = state.iteration == config.iterations
            if stop_now or stop.requested or last or state.iteration % config.checkpoint_every == 0:
                saved = save_checkpoint(run, config, state)
                if stop_now:
                    raise stop_now
                if stop.requested and not last:
                    raise Interrupted(f"{stop.requested}: stopped after saving {saved}")
    return state


def next_state(
    state: TrainState, params: Params, metrics: Mapping[str, float], inner: InnerLoop
) -> TrainState:
    """The state after an iteration; a non-finite update is refused and counted."""
    env_steps = state.env_steps + sum(rollouts.num_steps() for rollouts in inner.rollouts)
    advanced = replace(state, iteration=state.iteration + 1, env_steps=env_steps)
    finite = is_finite(params) and all(
        math.isfinite(value) for name, value in metrics.items() if name.startswith("train/")
    )
    if finite:
        return replace(advanced, params=params, refused_in_a_row=0)
    return replace(advanced, refused_in_a_row=state.refused_in_a_row + 1, refused=state.refused + 1)


def failure(
    state: TrainState, metrics: Mapping[str, float], config: TrainConfig
) -> Exception | None:
    """Why training must stop here, if it must."""
    if state.refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
        return NonFiniteUpdateError(
            f"{state.refused_in_a_row} updates in a row were not finite (iteration "
            f"{state.iteration}): the last good parameters are kept; try a smaller inner_lr or "
            "max_kl"
        )
    if metrics["health/fault_share"] > config.max_fault_share:
        return FaultError(
            f"{metrics['health/fault_share']:.0%} of the episodes of iteration {state.iteration} "
            f"diverged (max_fault_share = {config.max_fault_share:.0%}): check the family's "
            "parameter ranges, or raise the limit"
        )
    return None


def rollout_metrics(inner: InnerLoop) -> dict[str, float]:
    """Returns before and after adaptation, lengths and faults, over the meta-batch."""
    pre, post = inner.rollouts[0], inner.rollouts[-1]
    return_pre, return_post = (float(r.task_returns().nanmean()) for r in (pre, post))
    faulted = torch.stack([rollouts.faulted for rollouts in inner.rollouts])
    sound = ~torch.stack([rollouts.faulted for rollouts in (pre, post)])
    lengths = torch.stack([rollouts.valid.sum(-1) for rollouts in (pre, post)])
    ended = torch.stack([rollouts.truncated.any(-1) for rollouts in inner.rollouts])
    return {
        "rollout/return_pre": return_pre,
        "rollout/return_post": return_post,
        "rollout/adaptation_gain": return_post - return_pre,
        "rollout/ep_len_mean": float(lengths[sound].float().mean()),
        "health/nonfinite_envs": float(faulted.sum()),
        "health/fault_share": float(faulted.float().mean()),
        "health/failed_adaptations": float(inner.failed.sum()),
        "health/truncation_rate": float(ended.float().mean()),
    }


@torch.no_grad()
def inner_metrics(
    policy: GaussianMlpPolicy, params: Params, inner: InnerLoop, config: TrainConfig
) -> dict[str, float]:
    """How far adaptation moved: KL on a few pre-adaptation episodes, and the distance."""
    shared = to(expand(params, len(inner.failed)), inner.failed.device)
    batch: PolicyBatch = first_episodes(inner.batches[0], config.horizon, 0.1)
    before, after = (policy.distribution(p, batch.observations) for p in (shared, inner.adapted))
    kl = (kl_divergence(before, after) * batch.weights).sum(-1)
    moved: list[Tensor] = [
        (inner.adapted[name] - value).flatten(1) for name, value in shared.items()
    ]
    distance = torch.cat(moved, dim=1).norm(dim=1)
    return {
        "inner/kl": float(kl.mean()),
        "inner/step_norm": float(distance.mean()),
        "train/explained_variance": float(inner.batches[-1].explained_variance.mean()),
    }


def time_metrics(inner: InnerLoop, total_s: float) -> dict[str, float]:
    """Where the iteration's wall-clock time went; `update_s` is all but the collections."""
    steps = sum(rollouts.num_steps() for rollouts in inner.rollouts)
    return {
        "time/collect_s": inner.collect_s,
        "time/update_s": total_s - inner.collect_s,
        "time/fps": steps / total_s,
    }
