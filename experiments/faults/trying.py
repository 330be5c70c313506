"""Attempts of a fuzzing campaign: an input, what it came to, and children that may die of it."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

from metarl.errors import RunError
from metarl_envs import InputError

LIMIT_S = 30
"""Seconds of a processor after which an attempt counts as a hang: on a machine shared with others,
a clock would count their work too."""
LIMIT_BYTES = 6 * 2**30
"""Memory of a child."""


class WrongOkError(AssertionError):
    """An input was accepted, and what came of it is wrong."""


@dataclass(frozen=True)
class Attempts:
    """One kind of input."""

    inputs: SearchStrategy[Any]
    use: Callable[[Any], object]
    """Does with an input what a user would; returns, or raises what the library documents.

    Raises:
        WrongOkError: for a result that is not what the input says.
    """
    apart: bool = False
    """True if an input may end the process, or never end: each is used in a forked child."""


def result_of(attempts: Attempts, given: Any) -> str:  # noqa: ANN401 - any input
    """Outcome of an input: "ok", "refused", or "fault: ..."."""
    if attempts.apart:
        return in_child(lambda: _result(attempts.use, given))
    return _result(attempts.use, given)


def _result(use: Callable[[Any], object], given: Any) -> str:  # noqa: ANN401
    try:
        use(given)
    except (InputError, RunError):
        return "refused"
    except Exception as error:  # what the campaign looks for
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        own = [frame for frame in frames if "metarl" in frame.filename]
        if own:
            place = f"{Path(own[-1].filename).name}:{own[-1].lineno} > {place}"
        first = (str(error).splitlines() or [""])[0][:200]
        return f"fault: {type(error).__name__} at {place}: {first}"
    return "ok"


def in_child(function: Callable[[], str], limit_s: int = LIMIT_S) -> str:
    """The text that a function returns in a forked child, or how the child ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(function().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if said:
        return said.decode()
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return "fault: hang" if name == "SIGXCPU" else f"fault: the process ended by {name}"
    return f"fault: the process ended with status {os.waitstatus_to_exitcode(status)}"
