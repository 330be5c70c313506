"""Processes that step environments of the package metaworld by themselves, to compare ours with."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from metarl_envs.gym_worlds.metaworld import package, reset_mocap_welds


def side_by_side(
    work: Callable[..., None], given: Sequence[tuple[Any, ...]]
) -> tuple[float, list[Any]]:
    """Start a process for each row of arguments, and let all begin at once.

    Args:
        work: takes a connection and the row: it sends None once it is ready, receives None, works,
            and sends its result.
        given: the rows.

    Returns:
        Seconds from the beginning to the last result, and the results.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for row in given:
        here, there = context.Pipe()
        processes.append(context.Process(target=work, args=(there, *row)))
        processes[-1].start()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()
    began = time.perf_counter()
    for pipe in pipes:
        pipe.send(None)
    results = [pipe.recv() for pipe in pipes]
    taken = time.perf_counter() - began
    for process in processes:
        process.join()
    return taken, results


def wait_for_all(pipe: Connection) -> None:
    """Say that this process is ready, and wait for the others."""
    pipe.send(None)
    pipe.recv()


def package_environment(name: str, goal: Sequence[float]) -> Any:  # noqa: ANN401 - the package's
    """The package's own environment of a class in the task of a random vector, on MuJoCo 4."""
    own = package("metaworld.env_dict").ALL_V3_ENVIRONMENTS[name]
    env = type(own.__name__, (own,), {"reset_mocap_welds": reset_mocap_welds})()
    env._last_rand_vec = np.array(goal)
    env._set_task_called = True  # its own `set_task` takes a pickle
    return env
