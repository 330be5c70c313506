"""Speed of an engine and the learner: physics alone, with a policy, and meta-training.

Physics alone is the floor: the same worlds and substeps under random controls, without policy,
observation or reward. Every figure is the median of a few rounds after a warm-up, which pays for
compiling kernels and recording graphs and is reported apart; the operations of its update are
counted.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from metarl.evaluation.trials import remembers
from metarl.methods.config import TrainConfig
from metarl.methods.setup import check_machine, device_of, family_of, learner_of, training_env
from metarl.policies.params import expand, to
from metarl.rollouts.collect import Collector
from metarl.rollouts.task_env import TaskEnv
from metarl.rollouts.threads import torch_threads
from metarl.training.operation_counts import OperationCounts
from metarl.versions import git_commit, versions
from metarl_envs import InputError, TaskFamily, chosen_engine
from metarl_envs.inputs.numbers import whole, wholes

GPU_WORLDS = (256, 1024, 4096, 8192, 16384, 32768)
CPU_WORLDS = (256, 1024)


@dataclass(frozen=True)
class Row:
    """Figures for one number of worlds. Rates are per second of wall-clock time."""

    worlds: int
    tasks: int
    physics_steps_per_s: float
    """Simulator substeps of all worlds, random controls, nothing else."""
    raw_env_steps_per_s: float
    """The same in control steps."""
    policy_env_steps_per_s: float
    """Collection: policy, sampling, physics, rewards, storage."""
    collect_over_physics: float
    """Seconds of a collection over seconds of its physics alone."""
    iteration_s: float
    """A whole meta-iteration, of several phases the first: collections, adaptation and update."""
    tasks_s: float
    """Drawing tasks, writing them into the models, refreshing derived constants."""
    collect_s: float
    adapt_s: float
    """Advantages and inner gradients."""
    update_s: float
    """The outer loop."""
    update_kernels: int
    """Operations that an update runs: about one kernel of a GPU each (`OperationCounts`)."""
    update_waits: int
    """Values that it asks the device for."""
    train_env_steps_per_s: float
    """Environment steps of a meta-iteration over its seconds."""
    warm_up_s: float
    memory_gb: float
    """GPU: memory in use, by all processes. CPU: peak resident memory of this process."""


def benchmark(config: TrainConfig, worlds: Sequence[int], rounds: int) -> Iterator[Row]:
    """Measure with each number of worlds in turn.

    Args:
        config: family, method, device, engine, horizon, and M; E follows from the worlds.
        worlds: each a multiple of M.
        rounds: measurements of each figure, >= 1.

    Raises:
        InputError: for numbers that are not allowed, before anything is measured.
    """
    M, rounds = config.meta_batch_size, whole("--rounds", rounds, least=1)
    worlds = wholes("--worlds", worlds)
    for count in worlds:
        if count < 1 or count % M:
            raise InputError(
                f"--worlds {count}: must be a multiple of the {M} tasks (--meta-batch-size)"
            )
    check_machine(config)
    return (_measure(config, count, rounds) for count in worlds)


def report(config: TrainConfig, rows: Sequence[Row]) -> dict[str, Any]:
    """The figures with what is needed to read them, as JSON values."""
    device = device_of(config)
    return {
        "family": config.family,
        "method": config.method,
        "horizon": config.horizon,
        "engine": chosen_engine(config.engine, device),
        "device": device_name(device),
        "sim_threads": config.sim_threads,
        "torch_threads": torch.get_num_threads(),
        "versions": versions(),
        "commit": git_commit(),
        "rows": [asdict(row) for row in rows],
    }


COLUMNS = {
    "worlds": "{worlds:,}",
    "physics steps/s": "{physics_steps_per_s:,.0f}",
    "env steps/s": "{raw_env_steps_per_s:,.0f}",
    "with policy": "{policy_env_steps_per_s:,.0f}",
    "ratio": "{collect_over_physics:.2f}",
    "training": "{train_env_steps_per_s:,.0f}",
    "iteration s": "{iteration_s:.3f}",
    "tasks": "{tasks_s:.3f}",
    "collect": "{collect_s:.3f}",
    "adapt": "{adapt_s:.3f}",
    "update": "{update_s:.3f}",
    "kernels": "{update_kernels:,}",
    "waits": "{update_waits}",
    "GB": "{memory_gb:.2f}",
}
"""Columns of the table, and the format of a row in each."""
HEADER = list(COLUMNS)


def cells(row: Row) -> list[str]:
    """A row of the table under `HEADER`."""
    return [form.format(**asdict(row)) for form in COLUMNS.values()]


def device_name(device: torch.device) -> str:
    """Such as "NVIDIA H200", or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _measure(config: TrainConfig, worlds: int, rounds: int) -> Row:
    M, device = config.meta_batch_size, device_of(config)
    config = replace(config, episodes_per_task=worlds // M)
    phase = config.outer.phases(config.iterations, config.adaptation_steps)[0]
    began = time.perf_counter()
    family = family_of(config)
    env = training_env(config, M, worlds // M)
    learner = learner_of(config)
    collector = Collector(env, learner.policy)
    state = learner.init(config.seed)
    rng, params = state.generators, to(state.params, device)
    start = expand(params, 1 if remembers(learner.policy, params) else M)
    num_tasks = config.outer.num_distinct_tasks(M)
    random_controls = _random_controls(family, env, Generator().manual_seed(5))

    def physics() -> None:
        for t in range(env.horizon):
            env.begin_step(random_controls[t % len(random_controls)])
            env.simulate()

    def meta_iteration(counting: AbstractContextManager[object]) -> tuple[float, ...]:
        """Seconds of tasks, collections, adaptation and update."""
        stamps = [time.perf_counter()]
        tasks = family.sample_tasks(num_tasks, rng.tasks, "train")
        env.set_tasks(tasks[torch.arange(M) % num_tasks])
        _wait(device)
        stamps.append(time.perf_counter())
        experience = learner.collect(collector, state, tasks)  # sets the tasks once more
        _wait(device)
        stamps.append(time.perf_counter())
        with counting:
            learner.update(state, experience)
        _wait(device)
        stamps.append(time.perf_counter())
        tasks_s, whole_s, update_s = (b - a for a, b in itertools.pairwise(stamps))
        collect_s = experience.collect_s
        return tasks_s, collect_s, max(0.0, whole_s - tasks_s - collect_s), update_s

    def collection() -> None:
        collector.collect(start, rng.resets, rng.actions)

    counts = OperationCounts()
    meta_iteration(counts)
    env.reset(rng.resets)
    physics()
    _wait(device)
    warm_up_s = time.perf_counter() - began
    physics_s, collect_s, phases = [], [], []
    for _ in range(rounds):  # interleaved: a machine's speed may drift
        env.reset(rng.resets)
        physics_s.append(_seconds(device, physics))
        collect_s.append(_seconds(device, collection))
        phases.append(meta_iteration(nullcontext()))
    tasks_s, inner_s, adapt_s, update_s = map(statistics.median, zip(*phases, strict=True))
    physics_median, collect_median = statistics.median(physics_s), statistics.median(collect_s)
    iteration_s = statistics.median(map(sum, phases))
    steps = worlds * env.horizon
    return Row(
        worlds,
        M,
        physics_steps_per_s=steps * family.robot.frame_skip / physics_median,
        raw_env_steps_per_s=steps / physics_median,
        policy_env_steps_per_s=steps / collect_median,
        collect_over_physics=collect_median / physics_median,
        iteration_s=iteration_s,
        tasks_s=tasks_s,
        collect_s=inner_s,
        adapt_s=adapt_s,
        update_s=update_s,
        update_kernels=counts.kernels,
        update_waits=counts.waits,
        train_env_steps_per_s=phase.collections * steps / iteration_s,
        warm_up_s=warm_up_s,
        memory_gb=_memory_gb(device),
    )


def _random_controls(family: TaskFamily, env: TaskEnv, generator: Generator) -> Tensor:
    """A few steps of uniform controls, (few, N, A), on the engine's device."""
    low, high = family.action_bounds()
    worlds = env.num_tasks * env.episodes_per_task
    draws = torch.rand((16, worlds, len(low)), generator=generator)
    return (low + (high - low) * draws).to(env.device)


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    _wait(device)
    began = time.perf_counter()
    with torch_threads(1):
        work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
