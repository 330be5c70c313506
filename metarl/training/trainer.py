"""The training loop: MAML's algorithm box (Finn et al. 2017, Algorithm 3), one screen long."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from metarl.adaptation.inner_loop import InnerLoop, run_inner_loop
from metarl.errors import FaultError, Interrupted, NonFiniteUpdateError
from metarl.methods.config import TrainConfig
from metarl.methods.setup import device_of, family_of, inner_loop_of, policy_of, training_env
from metarl.outer.base import Iteration, Update
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import is_finite, learned, to
from metarl.rollouts.observed import observation_statistics
from metarl.runs.checkpoint import save_checkpoint
from metarl.runs.metrics_log import MetricsLogger, read_metrics
from metarl.runs.progress import Progress
from metarl.runs.state import Generators, TrainState, initial_params
from metarl.training.health import Watch, health_metrics
from metarl.training.metrics import iteration_metrics, time_metrics
from metarl.training.signals import StopSignals
from metarl.training.validation import Validation

CPU = torch.device("cpu")
MAX_REFUSED_IN_A_ROW = 3


def initial_state(config: TrainConfig) -> TrainState:
    """Fresh parameters and random streams, all from `config.seed`."""
    policy = policy_of(config)
    generators = Generators.from_seed(config.seed)
    params = initial_params(config, policy, generators.init)
    return TrainState(params, generators, config.outer.init(learned(params)))


def train(config: TrainConfig, state: TrainState, run: Path, *, quiet: bool = False) -> TrainState:
    """Meta-train from `state` up to `config.iterations`, logging and saving into `run`.

    Raises:
        Interrupted: after a stop signal, once the finished iteration is saved.
        NonFiniteUpdateError: after three refused updates in a row; the last good state is saved.
        FaultError: if too many worlds diverge; the last good state is saved.
    """
    family = family_of(config)
    device = device_of(config)
    policy = policy_of(config)
    outer = config.outer
    M, E, K = config.meta_batch_size, config.episodes_per_task, config.adaptation_steps
    slots = torch.arange(M) % outer.num_distinct_tasks(M)
    env = training_env(config, M, E)
    random = state.generators
    with (
        StopSignals() as stop,
        MetricsLogger(run, config, iteration=state.iteration, env_steps=state.env_steps) as logger,
        Progress(config.iterations, state.iteration, quiet=quiet) as progress,
    ):
        validation = Validation(run, config, policy, state)
        watch = Watch(config, read_metrics(run))
        while state.iteration < config.iterations:
            began = time.perf_counter()

            # Sample tasks; then K times: collect, adapt; then collect once more.
            tasks = family.sample_tasks(outer.num_distinct_tasks(M), random.tasks, "train")
            env.set_tasks(tasks[slots])
            theta, optimizer = to(state.params, device), to(state.optimizer, device)
            start = outer.propose(theta, optimizer, M, random.search)
            over = state.iteration / config.iterations
            how = inner_loop_of(config, over)
            inner = run_inner_loop(
                env, policy, start, how, K, random.resets, random.actions, device
            )

            # Update the meta-parameters from all that was collected.
            seen = Iteration(policy, how.adaptation, how.inner_loss, inner, config.horizon, over)
            update = outer.update(theta, optimizer, seen)
            metrics = update.metrics | iteration_metrics(policy, inner, config)
            state = next_state(state, with_statistics(policy, update, inner), metrics, inner)

            # Now and then, evaluate on validation tasks and keep the best policy.
            metrics |= time_metrics(inner, time.perf_counter() - began)
            metrics |= validation.after(state)

            # Log, and say what goes wrong.
            metrics |= health_metrics(metrics)
            metrics["health/refused_updates"] = float(state.refused)
            logger.write(state.iteration, state.env_steps, metrics)
            progress.update(metrics)
            for report in watch.reports(state.iteration, metrics):
                progress.print(f"metarl: warning: {report}")

            # Checkpoint, and stop if told to or if there is no point in going on.
            broken = failure(state, metrics, config)
            finished = state.iteration == config.iterations
            due = finished or state.iteration % config.checkpoint_every == 0
            if due or broken or stop.requested:
                saved = save_checkpoint(run, config, state)
                if broken:
                    raise broken
                if stop.requested and not finished:
                    raise Interrupted(f"{stop.requested}: stopped after saving {saved}")
    return state


def with_statistics(policy: GaussianMlpPolicy, update: Update, inner: InnerLoop) -> Update:
    """The update on the CPU, its normaliser moved by what every policy of the iteration saw.

    Adapted ones included: a meta-policy that stands still knows speeds near zero alone, and the
    speeds of a policy that it adapts to lie beyond the normaliser's clip: 13 and 53 % of the steps
    of two Meta-SGD policies on half-cheetah-direction after 2.4 million steps, and none so. It has
    its price there: returns of 154 and 171, against 166 and 195 by the meta-policy's speeds alone.
    """
    params = to(update.params, inner.rollouts[0].valid.device)
    for seen in inner.rollouts:
        params = policy.update_statistics(params, seen.observations, seen.valid)
    return update._replace(params=to(params, CPU), optimizer=to(update.optimizer, CPU))


def next_state(
    state: TrainState, update: Update, metrics: Mapping[str, float], inner: InnerLoop
) -> TrainState:
    """The state after an iteration; a non-finite update is refused and counted."""
    env_steps = state.env_steps + sum(rollouts.num_steps() for rollouts in inner.rollouts)
    observed = observation_statistics(inner.rollouts[0])
    advanced = replace(state, iteration=state.iteration + 1, env_steps=env_steps, observed=observed)
    finite = is_finite(update.params | update.optimizer) and all(
        math.isfinite(value) for name, value in metrics.items() if name.startswith("train/")
    )
    if finite:
        return replace(
            advanced, params=update.params, optimizer=update.optimizer, refused_in_a_row=0
        )
    return replace(advanced, refused_in_a_row=state.refused_in_a_row + 1, refused=state.refused + 1)


def failure(
    state: TrainState, metrics: Mapping[str, float], config: TrainConfig
) -> Exception | None:
    """Why training must stop here, if it must."""
    if state.refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
        failed = f"{metrics['health/failed_adaptations']:.0f} of {config.meta_batch_size}"
        return NonFiniteUpdateError(
            f"{state.refused_in_a_row} updates in a row were not finite (iteration "
            f"{state.iteration}, in which the adaptation to {failed} tasks was not finite): the "
            "last good parameters are kept; try smaller step sizes"
        )
    if metrics["health/fault_share"] > config.max_fault_share:
        share = metrics["health/fault_share"]
        return FaultError.of(share, state.iteration, config.max_fault_share)
    return None
