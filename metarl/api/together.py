"""One training by all processes of a launch: the first prepares it, all take part."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from metarl import distributed
from metarl.errors import LostProcessError
from metarl.methods.config import TrainConfig, from_json, to_json
from metarl.methods.setup import check_machine
from metarl.outer.state import Generators, TrainState
from metarl.process import launched_processes
from metarl.runs.checkpoint import COUNTERS
from metarl.training.trainer import initial_state
from metarl_envs import InputError


class Start(NamedTuple):
    """A training that begins or goes on."""

    folder: Path
    config: TrainConfig
    state: TrainState | None
    """None: of a baseline, which trains in one process."""


@contextmanager
def shared(prepared: AbstractContextManager[Start]) -> Iterator[Start]:
    """A training that the first process prepares, in every process of the launch.

    Only the first one enters `prepared`, so that files are read, made and locked once. Where that
    fails, it raises the error, and the others one without a text.

    Raises:
        LostProcessError: in another process, if the first one cannot begin.
    """
    if distributed.rank():
        yield _received()
        return
    with ExitStack() as stack:
        try:
            start = stack.enter_context(prepared)
        except BaseException:
            distributed.from_first(b"")
            raise
        _send(start)
        yield start


def check_alone(command: str) -> None:
    """Refuse a command that one process does, in a launch of several.

    Raises:
        InputError: with the command.
    """
    if launched_processes() > 1:
        raise InputError(
            f"{command}: one process does this, and {launched_processes()} were started; leave out "
            "torchrun, which is for metarl train and metarl resume of meta-trained runs"
        )


def _send(start: Start) -> None:
    """Hand a training to the other processes."""
    if distributed.world_size() == 1 or start.state is None:
        return
    counters = {name: getattr(start.state, name) for name in COUNTERS}
    told = {"folder": str(start.folder), "config": to_json(start.config), "counters": counters}
    distributed.from_first(json.dumps(told).encode())
    _with_tensors_of_first(start.state)


def _received() -> Start:
    """The training that the first process has prepared."""
    told = distributed.from_first(b"")
    if not told:
        raise LostProcessError("")
    data = json.loads(told)
    config = from_json(data["config"])
    check_machine(config)
    state = dataclasses.replace(initial_state(config), **data["counters"])
    return Start(Path(data["folder"]), config, _with_tensors_of_first(state))


def _with_tensors_of_first(state: TrainState) -> TrainState:
    """The state with the first process's parameters, optimiser and random streams."""
    parts = (state.params, state.optimizer, state.choice, state.generators.state())
    params, optimizer, choice, streams = (
        {name: distributed.from_first_tensor(value) for name, value in part.items()}
        for part in parts
    )
    generators = Generators.from_state(streams)
    return dataclasses.replace(
        state, params=params, optimizer=optimizer, choice=choice, generators=generators
    )
