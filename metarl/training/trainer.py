"""The training loop, the same for every learner."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from metarl.distributed import any_rank
from metarl.errors import FaultError, Interrupted, NonFiniteUpdateError
from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of, learner_of, training_env
from metarl.outer.learner import Experience, Update
from metarl.outer.state import TrainState
from metarl.policies.params import is_finite
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import save_checkpoint
from metarl.runs.metrics_log import MetricsLogger, read_metrics
from metarl.runs.progress import SHOWN, SHOWN_IN_TRIALS, Progress
from metarl.training.health import Watch, health_metrics
from metarl.training.metrics import observation_statistics, rollout_metrics, time_metrics
from metarl.training.signals import StopSignals
from metarl.training.validation import Validation

MAX_REFUSED_IN_A_ROW = 3


def initial_state(config: TrainConfig) -> TrainState:
    """The learner's state before the first iteration, from `config.seed`."""
    return learner_of(config).init(config.seed)


def train(config: TrainConfig, state: TrainState, run: Path, *, quiet: bool = False) -> TrainState:
    """Train from `state` up to `config.iterations`, logging and saving into `run`.

    Raises:
        Interrupted: after a stop signal, once the finished iteration is saved.
        NonFiniteUpdateError: after three refused updates in a row; the last good state is saved.
        FaultError: if too many worlds diverge; the last good state is saved.
    """
    learner, family, rng = learner_of(config), family_of(config), state.generators
    num_tasks = config.outer.num_distinct_tasks(config.meta_batch_size)
    env = training_env(config, config.meta_batch_size, config.episodes_per_task)
    collector = Collector(env, learner.policy)
    validation = Validation(run, config, learner.policy, state)
    watch = Watch(config, read_metrics(run))
    with (
        StopSignals() as stop,
        MetricsLogger(run, config, iteration=state.iteration, env_steps=state.env_steps) as logger,
        Progress(
            config.iterations,
            state.iteration,
            shown=SHOWN_IN_TRIALS if config.outer.within_episode else SHOWN,
            phases=phase_names(config),
            quiet=quiet,
        ) as progress,
    ):
        while state.iteration < config.iterations:
            start_s = time.perf_counter()
            tasks = family.sample_tasks(num_tasks, rng.tasks, "train")
            experience = learner.collect(collector, state, tasks)
            update = learner.update(state, experience)
            state = next_state(state, update, experience)
            metrics = update.metrics | rollout_metrics(experience.rollouts)
            metrics |= time_metrics(experience, time.perf_counter() - start_s)

            # Evaluate on validation tasks every `evaluate_every` iterations, and log.
            metrics |= validation.after(state)
            metrics |= health_metrics(metrics)
            metrics["health/refused_updates"] = float(state.refused)
            logger.write(state.iteration, state.env_steps, metrics)
            progress.update(metrics)
            for warning in watch.reports(state.iteration, metrics):
                progress.print(f"metarl: warning: {warning}")

            # Checkpoint, and stop at the end, on a signal or on an error.
            error = fatal_error(state, metrics, config)
            finished = state.iteration == config.iterations
            stopping = any_rank(bool(stop.requested)) and not finished
            if error or stopping or finished or state.iteration % config.checkpoint_every == 0:
                saved = save_checkpoint(run, config, state)
                if error:
                    raise error
                if stopping:
                    raise Interrupted(f"{stop.requested}: stopped after saving {saved}")
    return state


def phase_names(config: TrainConfig) -> list[str]:
    """Phase of each iteration in words; all "" where there is one phase."""
    phases = config.outer.phases(config.iterations, config.adaptation_steps)
    return [phase.name for phase in phases for _ in range(phase.iterations)]


def next_state(state: TrainState, update: Update, experience: Experience) -> TrainState:
    """State after an iteration; a non-finite update is refused and counted."""
    rollouts = experience.rollouts
    advanced = replace(
        state,
        iteration=state.iteration + 1,
        env_steps=state.env_steps + sum(collection.num_steps() for collection in rollouts),
        observed=observation_statistics(rollouts[0]),
    )
    finite = is_finite(update.params | update.optimizer) and all(
        math.isfinite(value) for name, value in update.metrics.items() if name.startswith("train/")
    )
    if finite:
        return replace(
            advanced, params=update.params, optimizer=update.optimizer, refused_in_a_row=0
        )
    return replace(advanced, refused_in_a_row=state.refused_in_a_row + 1, refused=state.refused + 1)


def fatal_error(
    state: TrainState, metrics: Mapping[str, float], config: TrainConfig
) -> Exception | None:
    """Error that ends training after this iteration; None: training goes on."""
    if state.refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
        failed = metrics.get("health/failed_adaptations", 0.0)
        return NonFiniteUpdateError(
            f"{state.refused_in_a_row} updates in a row were not finite (iteration "
            f"{state.iteration}, in which the adaptation to {failed:.0f} of "
            f"{config.meta_batch_size} tasks was not finite): the last good parameters are kept; "
            "try smaller step sizes"
        )
    if metrics["health/fault_share"] > config.max_fault_share:
        share = metrics["health/fault_share"]
        return FaultError.of(share, state.iteration, config.max_fault_share)
    return None
