"""The worlds that a run's configuration describes."""

from __future__ import annotations

import torch

from metarl.methods.config import TrainConfig
from metarl_envs import BatchEnv, EngineName


def make_env(
    config: TrainConfig,
    num_tasks: int,
    episodes_per_task: int,
    *,
    sim_threads: int | None = None,
    engine: EngineName | None = None,
    device: torch.device | None = None,
) -> BatchEnv:
    """M x E worlds of a run's family, with its horizon.

    Args:
        config: of the run.
        num_tasks: M.
        episodes_per_task: E.
        sim_threads, engine, device: None: as in training.

    Raises:
        InputError: for sizes below 1, or an engine or device that cannot be used.
    """
    return BatchEnv(
        config.task_family(),
        num_tasks,
        episodes_per_task,
        horizon=config.horizon,
        sim_threads=config.sim_threads if sim_threads is None else sim_threads,
        engine=config.engine if engine is None else engine,
        device=config.torch_device() if device is None else device,
    )
