"""The training loop, the same for every learner and for any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from metarl.distributed import any_rank, share_of
from metarl.errors import FaultError, Interrupted, NonFiniteUpdateError
from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of, learner_of, starting_state, training_env
from metarl.outer.learner import Update
from metarl.outer.state import TrainState
from metarl.outer.task_choice import TaskSource
from metarl.policies.params import Params, is_finite
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import save_checkpoint
from metarl.training.metrics import (
    num_steps,
    observation_statistics,
    rollout_metrics,
    time_metrics,
)
from metarl.training.record import recording
from metarl.training.signals import StopSignals

MAX_REFUSED_IN_A_ROW = 3


def initial_state(config: TrainConfig) -> TrainState:
    """The learner's state before the first iteration, from `config.seed`."""
    return starting_state(config, config.seed)


def train(config: TrainConfig, state: TrainState, run: Path, *, quiet: bool = False) -> TrainState:
    """Train from `state` up to `config.iterations`, logging and saving into `run`.

    Where several processes train, each calls this with the same state, simulates its share of the
    tasks, and ends with the same state; the first one logs and saves.

    Raises:
        Interrupted: after a stop signal, once the finished iteration is saved.
        NonFiniteUpdateError: after three refused updates in a row; the last good state is saved.
        FaultError: if too many worlds diverge; the last good state is saved.
        LostProcessError: if another process ends or does not answer; nothing is saved.
    """
    learner, rng = learner_of(config), state.generators
    num_tasks = config.outer.num_distinct_tasks(config.meta_batch_size)
    share = share_of(config.meta_batch_size, num_tasks)
    own_tasks = share.of(torch.arange(share.total))
    env = training_env(config, len(own_tasks), config.episodes_per_task)
    collector = Collector(env, learner.policy, share=share)
    source = TaskSource(family_of(config), config.task_choice, config.representatives, config.seed)
    with (
        StopSignals() as stop,
        recording(run, config, learner.policy, state, quiet=quiet) as record,
    ):
        while state.iteration < config.iterations:
            start_s = time.perf_counter()
            tasks, chosen = source.draw(state.choice, num_tasks, rng.tasks)
            experience = learner.collect(collector, state, tasks)
            update = learner.update(state, experience)
            steps = num_steps(experience)
            choice = source.learned(state.choice, chosen, experience.rollouts[-1], share)
            state = next_state(state, update, experience.rollouts[0], steps, choice)
            metrics = update.metrics | rollout_metrics(experience.rollouts)
            metrics |= time_metrics(experience, steps, time.perf_counter() - start_s)

            # Evaluate on validation tasks every `evaluate_every` iterations, and log.
            if record is not None:
                record.add(state, metrics)

            # Checkpoint, and stop at the end, on a signal or on an error.
            error = fatal_error(state, metrics, config)
            finished = state.iteration == config.iterations
            stopping = any_rank(bool(stop.requested)) and not finished
            if error or stopping or finished or state.iteration % config.checkpoint_every == 0:
                saved = "" if record is None else save_checkpoint(run, config, state)
                if error:
                    raise error
                if stopping:
                    signal = stop.requested or "a stop signal to another process"
                    raise Interrupted(f"{signal}: stopped after saving {saved}")
    return state


def next_state(
    state: TrainState, update: Update, pre: Rollouts, steps: int, choice: Params
) -> TrainState:
    """State after an iteration; an update that is not finite in a process is refused and counted.

    Args:
        state: before it.
        update: of the learner.
        pre: the collection before adaptation.
        steps: environment steps of all collections.
        choice: state of the choice of tasks after it, whose returns do not depend on the update.
    """
    advanced = replace(
        state,
        iteration=state.iteration + 1,
        env_steps=state.env_steps + steps,
        choice=choice,
        observed=observation_statistics(pre),
    )
    finite = is_finite(update.params | update.optimizer) and all(
        math.isfinite(value) for name, value in update.metrics.items() if name.startswith("train/")
    )
    if not any_rank(not finite):
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
