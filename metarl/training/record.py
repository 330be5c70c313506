"""Record of a training: its log, its progress, its evaluations and its warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from metarl.distributed import rank
from metarl.methods.config import TrainConfig
from metarl.outer.state import TrainState
from metarl.policies.base import Policy
from metarl.runs.metrics_log import MetricsLogger, read_metrics
from metarl.runs.progress import SHOWN, SHOWN_IN_TRIALS, Progress
from metarl.training.health import Watch, health_metrics
from metarl.training.validation import Validation


class Record(NamedTuple):
    """Notes of the first process on every iteration, for all of them."""

    validation: Validation
    watch: Watch
    logger: MetricsLogger
    progress: Progress

    def add(self, state: TrainState, metrics: Mapping[str, float]) -> None:
        """Evaluate on validation tasks if it is time, and log the iteration."""
        metrics = dict(metrics) | self.validation.after(state)
        metrics |= health_metrics(metrics)
        metrics["health/refused_updates"] = float(state.refused)
        self.logger.write(state.iteration, state.env_steps, metrics)
        self.progress.update(metrics)
        for warning in self.watch.reports(state.iteration, metrics):
            self.progress.print(f"metarl: warning: {warning}")


@contextmanager
def recording(
    run: Path, config: TrainConfig, policy: Policy, state: TrainState, *, quiet: bool
) -> Iterator[Record | None]:
    """The record of a run that goes on from `state`; None in other processes than the first."""
    if rank():
        yield None
        return
    validation, watch = Validation(run, config, policy, state), Watch(config, read_metrics(run))
    with (
        MetricsLogger(run, config, iteration=state.iteration, env_steps=state.env_steps) as logger,
        Progress(
            config.iterations,
            state.iteration,
            shown=SHOWN_IN_TRIALS if config.outer.within_episode else SHOWN,
            phases=phase_names(config),
            quiet=quiet,
        ) as progress,
    ):
        yield Record(validation, watch, logger, progress)


def phase_names(config: TrainConfig) -> list[str]:
    """Phase of each iteration in words; all "" where there is one phase."""
    phases = config.outer.phases(config.iterations, config.adaptation_steps)
    return [phase.name for phase in phases for _ in range(phase.iterations)]
