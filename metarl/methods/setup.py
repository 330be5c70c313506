"""Objects built from a configuration: family, policy, device, learner, environment."""

from __future__ import annotations

import dataclasses
import os
import sys

import torch

from metarl.adaptation.inner_loop import InnerLoopConfig
from metarl.distributed import world_size
from metarl.methods.config import TrainConfig
from metarl.outer.learner import Learner, LearnerParts
from metarl.outer.state import TrainState
from metarl.outer.task_choice import no_returns
from metarl.policies.base import Policy
from metarl.process import available_cores, counted, local_rank
from metarl_envs import (
    FAMILIES,
    BatchEnv,
    EngineName,
    InputError,
    TaskFamily,
    chosen_engine,
    get_family,
)
from metarl_envs.inputs.numbers import whole


def family_of(config: TrainConfig) -> TaskFamily:
    """The task family, shipped or loaded; it observes its task if the policy is task-conditioned.

    Raises:
        InputError: for one in a file that was not named, since reading a run runs no code.
    """
    reference = config.origin.reference
    if reference and config.family not in FAMILIES:
        raise InputError(
            f"family '{config.family}' is defined in {reference}, and a Python file is run "
            f"only if you name it: add --family {reference} (in Python: "
            f'metarl_envs.load_family("{reference}"))'
        )
    family = get_family(config.family)
    return dataclasses.replace(family, observes_task=True) if config.observe_task else family


def policy_of(config: TrainConfig) -> Policy:
    """The policy for the family's spaces."""
    return Policy.for_family(family_of(config), config.policy)


def device_of(config: TrainConfig) -> torch.device:
    """The device that meta-updates run on.

    Raises:
        InputError: for CUDA on a machine without it.
    """
    return device_named(config.device)


def device_named(name: str) -> torch.device:
    """The device "cpu" or "cuda"; "auto" is a GPU if there is one.

    Raises:
        InputError: for CUDA on a machine without it, or another name.
    """
    if name not in (allowed := ("auto", "cpu", "cuda")):
        raise InputError(f"device = '{name}': allowed are {', '.join(allowed)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda': torch finds no CUDA device; use --device cpu")
    available = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(available if name == "auto" else name)


def simulator_threads(count: int | None) -> int:
    """The number of simulator threads; None: one for every core that this process may use.

    Raises:
        InputError: for less than 1.
    """
    return available_cores() if count is None else whole("sim_threads", count, 1)


def check_machine(config: TrainConfig) -> None:
    """Refuse a device, an engine or rollouts that this machine does not have or cannot hold.

    Raises:
        InputError: naming it, with the fix.
    """
    device = device_of(config)
    if device.type == "cuda" and 0 < local_rank() >= torch.cuda.device_count():
        raise InputError(
            f"device = '{config.device}': each process needs a GPU of its own, and this machine "
            f"has {torch.cuda.device_count()}; start as many processes on it (--nproc-per-node), "
            "or use --device cpu"
        )
    chosen_engine(config.engine, device)
    if sys.platform == "win32":
        return
    family = family_of(config)
    numbers_per_step = 2 * family.observation_size + len(family.action_bounds()[0]) + 8  # or more
    samples = config.meta_batch_size * config.episodes_per_task * config.horizon
    collections = config.outer.collections_held(config.adaptation_steps)
    needed = 4 * numbers_per_step * samples * collections
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise InputError(
            f"{config.meta_batch_size} tasks x {config.episodes_per_task} episodes x "
            f"{config.horizon} steps x {collections} collections need more than "
            f"{needed / 1e9:.0f} GB, this machine has {memory / 1e9:.0f} GB; use a smaller "
            "--meta-batch-size, --episodes-per-task or --horizon"
        )


def check_shared(config: TrainConfig) -> None:
    """Refuse a meta-batch that the processes of a launch cannot share equally.

    Raises:
        InputError: with numbers that they can.
    """
    processes, M = world_size(), config.meta_batch_size
    tasks = config.outer.num_distinct_tasks(M)
    if not tasks % processes:
        return
    slots = M // tasks
    below, above = (slots * processes * (tasks // processes + more) for more in (0, 1))
    nearest = " or ".join(str(size) for size in (below, above) if size)
    different = "" if slots == 1 else f", so {counted(tasks, 'task')} with {slots} candidates each"
    raise InputError(
        f"meta_batch_size = {M}{different}: {processes} processes cannot share its tasks equally; "
        f"use --meta-batch-size {nearest}, or another number of processes"
    )


def inner_loop_of(config: TrainConfig, progress: float) -> InnerLoopConfig:
    """The inner loop after this share of meta-training, in [0, 1]."""
    return InnerLoopConfig(
        config.inner.at(progress), config.inner_loss, config.discount, config.gae_lambda
    )


def learner_of(config: TrainConfig) -> Learner:
    """The learner of the kind of `config.outer`."""
    inner = InnerLoopConfig(config.inner, config.inner_loss, config.discount, config.gae_lambda)
    parts = LearnerParts(
        policy_of(config),
        family_of(config),
        (config.meta_batch_size, config.episodes_per_task),
        config.horizon,
        inner,
        config.adaptation_steps,
        config.iterations,
        device_of(config),
    )
    return config.outer.learner(parts)


def starting_state(config: TrainConfig, seed: int) -> TrainState:
    """The state before the first iteration: the learner's, and that of the choice of tasks."""
    choice = no_returns(config.task_choice, config.representatives)
    return dataclasses.replace(learner_of(config).init(seed), choice=choice)


def training_env(config: TrainConfig, num_tasks: int, episodes_per_task: int) -> BatchEnv:
    """M x E worlds with the configuration's engine, device and threads."""
    return env_of(
        config,
        num_tasks,
        episodes_per_task,
        sim_threads=config.sim_threads,
        engine=config.engine,
        device=device_of(config),
    )


def env_of(
    config: TrainConfig,
    num_tasks: int,
    episodes_per_task: int,
    *,
    sim_threads: int = 1,
    engine: EngineName = "cpu",
    device: torch.device | None = None,
) -> BatchEnv:
    """M x E worlds of the family with the configuration's horizon."""
    return BatchEnv(
        family_of(config),
        num_tasks,
        episodes_per_task,
        horizon=config.horizon,
        sim_threads=sim_threads,
        engine=engine,
        device=device,
    )
